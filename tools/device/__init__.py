"""A device on its USB console, by the real mpremote and esptool."""
