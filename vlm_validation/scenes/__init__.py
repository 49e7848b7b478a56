"""Scenes the project renders itself: what every experiment runs on where no data set is at hand."""

from .render import SIZE, Scene, render
from .worlds import VERSION, WORLDS, Environment, World, brief_caption, draw_scenes, vocabulary

__all__ = [
    "SIZE",
    "VERSION",
    "WORLDS",
    "Environment",
    "Scene",
    "World",
    "brief_caption",
    "draw_scenes",
    "render",
    "vocabulary",
]
