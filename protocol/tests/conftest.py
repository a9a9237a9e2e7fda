"""A failing draw prints how to draw it again; a slow machine is no failure."""

from hypothesis import settings

settings.register_profile("protocol", deadline=None, print_blob=True)
settings.load_profile("protocol")
