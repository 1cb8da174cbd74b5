"""What processes and machines agree by: locks, leases, shared storage.

May import `config`.
"""
