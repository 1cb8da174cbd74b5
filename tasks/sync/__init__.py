"""Coordination of processes and machines: locks, leases, retries, shared storage.

May import `config`.
"""
