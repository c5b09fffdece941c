"""The sandbox: components' code in processes of its own.

A worker is forked from a warm zygote, confined by the kernel, and only then given a component's files, as bytes over the one
socket it has. What its functions ask for crosses that socket, and the host trusts nothing that comes back.

`zygote` is the host's handle, `nursery` what the zygote process runs, `confinement` what holds a worker, `plan` how much of it.
Knows nothing of transactions.
"""
