"""A failing draw prints how to draw it again; a slow machine is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "protocol", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("protocol")
