"""Signals: Ctrl-C and SIGTERM take effect between two steps, so that what is saved then is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

# Pressed a second time, Ctrl-C does not wait. SIGTERM is what schedulers send before they kill.
HELD = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Holds the signals back while a training runs; `raise_for` raises what they ask for.

    Signals for which the program has handlers of its own are left alone, and so are all of them outside of the main
    thread, where Python does not deliver any.

    Attributes:
        signal: the number of the signal that came, 0 for none.

    Example:
        >>> with Interruption() as interruption:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interruption.signal == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.signal = 0
        self._replaced: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number, default in zip(HELD, (signal.default_int_handler, signal.SIG_DFL), strict=True):
                if signal.getsignal(number) is default:
                    self._replaced[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise_for(number)
        self.signal = number


def raise_for(number: int) -> None:
    """Raises what ends a program that got this signal: its exit code tells that it was stopped, not finished.

    Args:
        number: of the signal; 0: nothing happens.

    Raises:
        KeyboardInterrupt: for Ctrl-C; uncaught, Python exits with 130.
        SystemExit: for others, with 128 + number: 143 for SIGTERM.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt("train: stopped by Ctrl-C")
    if number:
        raise SystemExit(128 + number)
