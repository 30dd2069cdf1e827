"""Writing TFRecord files."""

from __future__ import annotations

import contextlib
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from torchslim.checkpoints.store import atomic_file
from torchslim.data.record_format import frame
from torchslim.data.record_source import COMPRESSIONS

__all__ = ["RecordWriter"]


class RecordWriter:
    """Writes records into a TFRecord file, which is there once all of it is: on `close`, or at the end of `with`.

    Until then the records are in a temporary file in the same folder. An error inside of `with` leaves nothing behind,
    and a file that was there before is untouched.

    Args:
        path: the file to write.
        compression: 'GZIP', 'ZLIB', or None or '' for none. Random access is quick in files that are not compressed,
            and pictures do not get smaller.

    Raises:
        ValueError: if `compression` is unknown.
        OSError: if the file cannot be written, here or later.

    TF-Slim: takes the place of `tf.python_io.TFRecordWriter`, which reads files written here.

    Example:
        >>> import tempfile
        >>> from torchslim.data import RecordReader, make_example
        >>> path = Path(tempfile.mkdtemp(), 'train-00000-of-00001')
        >>> with RecordWriter(path) as writer:
        ...     writer.write(make_example({'image/class/label': 3}).SerializeToString())
        >>> len(RecordReader(path))
        1
    """

    def __init__(self, path: str | os.PathLike[str], compression: str | None = None) -> None:
        if compression not in ("", None, *COMPRESSIONS):
            raise ValueError(f"RecordWriter: `compression` must be 'GZIP', 'ZLIB' or None. Got {compression!r}.")
        self.path = Path(path)
        self._compressor = zlib.compressobj(wbits=COMPRESSIONS[compression]) if compression else None
        self._file_to_be = contextlib.ExitStack()
        self._file = self._file_to_be.enter_context(atomic_file(self.path, function="RecordWriter"))
        self._is_open = True

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._is_open:
            self._is_open = False
            self._file_to_be.__exit__(kind, error, trace)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Adds a record.

        Args:
            data: its bytes; of an Example: `example.SerializeToString()`.

        Raises:
            TypeError: if `data` are no bytes.
            ValueError: if the writer is closed.
            OSError: if it cannot be written; the writer is closed then, and no file is left.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"RecordWriter.write: `data` must be bytes (a message gives them by SerializeToString()). Got "
                f"{type(data).__name__}."
            )
        if not self._is_open:
            raise ValueError(f"RecordWriter.write: the writer must be open. Got the closed one of {str(self.path)!r}.")
        data = bytes(data)
        header, footer = frame(data)
        with self._closing_on_error():
            for piece in (header, data, footer):
                self._file.write(self._compressor.compress(piece) if self._compressor else piece)

    def close(self) -> None:
        """Completes the file and gives it its name; a second time does nothing."""
        if not self._is_open:
            return
        with self._closing_on_error():
            if self._compressor:
                self._file.write(self._compressor.flush())
        self._is_open = False
        self._file_to_be.close()

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._is_open = False
            if not self._file_to_be.__exit__(*sys.exc_info()):
                raise
