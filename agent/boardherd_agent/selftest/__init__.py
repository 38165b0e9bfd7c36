"""The agent's selftest: everything that a test PC needs, looked at once, with what to do where something is wrong.

It only reads, and disturbs no agent that runs: relays are asked what they do, a console that nobody has is opened
for a moment and never written to, and nothing that is said to the broker is kept or heeded by anybody.
"""
