"""The examples in deploy/ agree with the code."""
