"""The twenty drawings of `sample_voc`: what makes each class recognisable."""

from __future__ import annotations

from torchslim.datasets.drawing import Icon, Part

__all__ = ["ICONS"]

E, B, T, R = "ellipse", "box", "triangle", "ring"


def _wheels(*centres: float, y: float = 0.6, radius: float = 0.25) -> Icon:
    return tuple(
        part
        for x in centres
        for part in (
            Part(E, x, y, radius, radius, tone="dark"),
            Part(E, x, y, radius / 2, radius / 2, tone="light"),
        )
    )


def _legs(*centres: float, y: float = 0.65, w: float = 0.07, h: float = 0.32, tone: str = "body") -> Icon:
    return tuple(Part(B, x, y, w, h, tone=tone) for x in centres)


ICONS: dict[str, Icon] = {
    "aeroplane": (
        Part(B, 0.05, -0.45, 0.17, 0.5, -25, "trim"),
        Part(B, 0.05, 0.45, 0.17, 0.5, 25, "trim"),
        Part(T, -0.85, 0, 0.42, 0.16, 90, "trim"),
        Part(E, 0, 0, 1.0, 0.2, texture="stripes"),
        Part(E, 0.78, 0, 0.12, 0.1, tone="dark"),
    ),
    "bicycle": (
        Part(R, -0.55, 0.35, 0.42, 0.42, tone="dark"),
        Part(R, 0.55, 0.35, 0.42, 0.42, tone="dark"),
        Part(B, -0.25, 0.0, 0.06, 0.5, -35),
        Part(B, 0.15, -0.05, 0.06, 0.5, 35),
        Part(B, 0.1, -0.3, 0.45, 0.06),
        Part(B, 0.45, -0.05, 0.06, 0.5, -15),
        Part(B, -0.4, -0.5, 0.2, 0.07, tone="dark"),
        Part(B, 0.4, -0.58, 0.22, 0.06, -20, "dark"),
    ),
    "bird": (
        Part(T, -0.75, 0.15, 0.25, 0.35, 70, "trim"),
        Part(E, 0.0, 0.15, 0.65, 0.36, -15),
        Part(E, -0.1, 0.1, 0.42, 0.24, -25, "trim", "waves"),
        Part(E, 0.55, -0.3, 0.27, 0.25),
        Part(T, 0.92, -0.28, 0.1, 0.2, 95, "dark"),
        Part(E, 0.62, -0.36, 0.07, 0.07, tone="dark"),
        *_legs(-0.05, 0.2, y=0.7, w=0.035, h=0.25, tone="dark"),
    ),
    "boat": (
        Part(T, 0, 0.62, 1.15, 0.34, 180, texture="bars"),
        Part(B, 0, -0.25, 0.05, 0.7, tone="dark"),
        Part(T, 0.42, -0.25, 0.34, 0.55, 8, "light"),
        Part(T, -0.4, -0.15, 0.3, 0.42, -8, "trim"),
    ),
    "bottle": (
        Part(B, 0, -0.68, 0.12, 0.32),
        Part(B, 0, -0.92, 0.15, 0.08, tone="dark"),
        Part(E, 0, -0.3, 0.32, 0.25),
        Part(B, 0, 0.35, 0.32, 0.62),
        Part(B, 0, 0.35, 0.32, 0.27, tone="light", texture="checks"),
    ),
    "bus": (
        Part(B, 0, 0, 1.0, 0.58),
        Part(B, -0.05, -0.22, 0.88, 0.2, tone="light", texture="stripes"),
        Part(B, 0.85, 0.12, 0.1, 0.35, tone="dark"),
        Part(B, 0, 0.2, 1.0, 0.06, tone="trim"),
        *_wheels(-0.55, 0.5),
    ),
    "car": (
        Part(E, -0.05, -0.08, 0.58, 0.42),
        Part(E, -0.05, -0.05, 0.44, 0.28, tone="light"),
        Part(B, -0.05, -0.05, 0.05, 0.3),
        Part(B, 0, 0.3, 0.95, 0.26),
        Part(E, 0.85, 0.22, 0.1, 0.1, tone="light"),
        *_wheels(-0.52, 0.52, y=0.55),
    ),
    "cat": (
        Part(T, -0.5, -0.6, 0.28, 0.36, -18),
        Part(T, 0.5, -0.6, 0.28, 0.36, 18),
        Part(E, 0, 0.1, 0.8, 0.68, texture="stripes"),
        Part(E, -0.32, -0.05, 0.15, 0.18, tone="light"),
        Part(E, 0.32, -0.05, 0.15, 0.18, tone="light"),
        Part(E, -0.32, -0.05, 0.06, 0.16, tone="dark"),
        Part(E, 0.32, -0.05, 0.06, 0.16, tone="dark"),
        Part(T, 0, 0.28, 0.12, 0.09, 180, "dark"),
        Part(B, -0.55, 0.38, 0.42, 0.025, 8, "light"),
        Part(B, 0.55, 0.38, 0.42, 0.025, -8, "light"),
    ),
    "chair": (
        Part(B, -0.42, -0.42, 0.08, 0.55),
        Part(B, 0.42, -0.42, 0.08, 0.55),
        Part(B, 0, -0.5, 0.42, 0.34, texture="stripes"),
        Part(B, 0, 0.12, 0.62, 0.13, tone="trim"),
        *_legs(-0.52, 0.52, -0.25, 0.25, y=0.58, h=0.38),
    ),
    "cow": (
        Part(E, -0.1, 0.0, 0.75, 0.42, texture="patches"),
        *_legs(-0.65, -0.4, 0.2, 0.42, y=0.55),
        Part(E, 0.72, -0.3, 0.24, 0.28),
        Part(E, 0.82, -0.15, 0.17, 0.14, tone="light"),
        Part(T, 0.5, -0.68, 0.06, 0.2, -30, "dark"),
        Part(T, 0.9, -0.68, 0.06, 0.2, 30, "dark"),
        Part(B, -0.88, 0.05, 0.04, 0.35, 10, "dark"),
    ),
    "diningtable": (
        *_legs(-0.72, 0.72, y=0.35, w=0.08, h=0.6, tone="dark"),
        Part(B, 0, 0.3, 0.09, 0.55, tone="dark"),
        Part(E, 0, -0.25, 1.0, 0.4, texture="checks"),
        Part(E, -0.4, -0.28, 0.22, 0.1, tone="light"),
        Part(E, 0.4, -0.28, 0.22, 0.1, tone="light"),
    ),
    "dog": (
        Part(E, 0, -0.05, 0.6, 0.72),
        Part(E, -0.65, -0.05, 0.2, 0.55, 15, "trim"),
        Part(E, 0.65, -0.05, 0.2, 0.55, -15, "trim"),
        Part(E, 0, 0.42, 0.42, 0.36, tone="light"),
        Part(E, 0, 0.25, 0.17, 0.12, tone="dark"),
        Part(E, -0.24, -0.2, 0.1, 0.1, tone="dark"),
        Part(E, 0.24, -0.2, 0.1, 0.1, tone="dark"),
        Part(E, 0.02, 0.72, 0.1, 0.2, tone="trim"),
    ),
    "horse": (
        *_legs(-0.6, -0.42, 0.2, 0.38, y=0.55, w=0.06, h=0.42),
        Part(E, -0.12, 0.05, 0.62, 0.3),
        Part(B, 0.48, -0.35, 0.16, 0.48, 35),
        Part(B, 0.3, -0.42, 0.07, 0.5, 35, "trim", "bars"),
        Part(E, 0.78, -0.62, 0.32, 0.15, 35),
        Part(E, -0.8, 0.15, 0.1, 0.4, 20, "trim", "bars"),
    ),
    "motorbike": (
        *_wheels(-0.6, 0.62, y=0.42, radius=0.38),
        Part(B, 0.42, -0.05, 0.06, 0.52, -28, "light"),
        Part(E, 0.05, 0.02, 0.42, 0.2, -8),
        Part(B, 0.0, 0.3, 0.32, 0.18, tone="trim", texture="bars"),
        Part(E, -0.48, -0.1, 0.36, 0.11, 10, "dark"),
        Part(B, 0.24, -0.5, 0.2, 0.06, 15, "dark"),
        Part(B, -0.5, 0.5, 0.4, 0.06, tone="light"),
    ),
    "person": (
        *_legs(-0.17, 0.17, y=0.62, w=0.13, h=0.4, tone="dark"),
        Part(B, -0.45, 0.0, 0.09, 0.42, 25, "light"),
        Part(B, 0.45, 0.0, 0.09, 0.42, -25, "light"),
        Part(B, 0, -0.05, 0.34, 0.38, texture="bars"),
        Part(E, 0, -0.68, 0.25, 0.27, tone="light"),
        Part(E, 0, -0.86, 0.27, 0.14, tone="trim"),
    ),
    "pottedplant": (
        *(Part(E, x, y, 0.14, 0.48, angle, texture="waves") for x, y, angle in ((-0.5, -0.25, -60), (0.5, -0.25, 60))),
        *(Part(E, x, y, 0.14, 0.5, angle) for x, y, angle in ((-0.28, -0.5, -28), (0.28, -0.5, 28), (0, -0.5, 0))),
        Part(B, 0, 0.45, 0.36, 0.48, tone="trim", texture="bars"),
        Part(B, 0, 0.05, 0.55, 0.13, tone="trim"),
    ),
    "sheep": (
        *_legs(-0.45, -0.25, 0.2, 0.4, y=0.68, w=0.06, h=0.27, tone="dark"),
        *(Part(E, x, y, 0.36, 0.33, tone="light") for x, y in ((-0.5, -0.1), (0.35, -0.1), (-0.1, -0.3))),
        Part(E, -0.08, 0.1, 0.68, 0.4, tone="light", texture="dots"),
        Part(E, 0.72, -0.18, 0.2, 0.27, -20, "dark"),
    ),
    "sofa": (
        Part(B, 0, -0.18, 0.8, 0.42, texture="dots"),
        Part(B, 0, 0.3, 0.8, 0.22, tone="trim"),
        Part(B, 0, 0.3, 0.03, 0.22, tone="dark"),
        Part(B, -0.85, 0.2, 0.16, 0.42),
        Part(B, 0.85, 0.2, 0.16, 0.42),
        *_legs(-0.8, 0.8, y=0.7, w=0.07, h=0.1, tone="dark"),
    ),
    "train": (
        Part(B, 0, 0.85, 1.0, 0.1, tone="dark", texture="stripes"),
        Part(B, -0.6, -0.2, 0.36, 0.58),
        Part(B, -0.6, -0.4, 0.22, 0.2, tone="light"),
        Part(E, 0.25, 0.1, 0.7, 0.34, texture="bars"),
        Part(B, 0.62, -0.4, 0.12, 0.28, tone="dark"),
        Part(E, 0.2, -0.22, 0.17, 0.17, tone="trim"),
        *_wheels(-0.6, 0.0, 0.55, y=0.55, radius=0.22),
    ),
    "tvmonitor": (
        Part(B, 0, 0.72, 0.08, 0.2, tone="dark"),
        Part(B, 0, 0.9, 0.45, 0.08, tone="dark"),
        Part(B, 0, -0.1, 0.95, 0.68, tone="dark"),
        Part(B, 0, -0.1, 0.8, 0.54, texture="hoops"),
        Part(E, 0.8, 0.51, 0.05, 0.05, tone="light"),
    ),
}
