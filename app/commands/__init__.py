"""Commands that talk to a running service, through its API alone: what they can do, any other program can.

Nothing of the service is imported here, so they start fast and work from any machine.
"""

NAMES = ("tasks", "import", "export", "deliveries", "replay", "audit")
"""The commands of app.commands.cli, to be known without importing them."""
