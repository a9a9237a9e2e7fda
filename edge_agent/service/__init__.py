"""How the agent lives under systemd: notification, watchdog, what a hang leaves behind."""
