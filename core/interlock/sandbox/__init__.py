"""The sandbox: components' code in processes of its own.

A worker is forked from a warm zygote, confined by the kernel, and only then given a component's files, as bytes over the one
socket it has. What its functions ask for crosses that socket, and the host trusts nothing in a frame: which call, which
instance and which transaction it is about come from the host's own record.

`frames` is what both sides speak, `process` one worker as the host sees it, `pool` the workers of one instance, `sources` which
files a component is made of, `manifests` what it says that it is; `worker` is what runs on the other side. `zygote` is the host's
handle, `nursery` what the zygote process runs, `confinement` what holds a worker, `plan` how much of it. Knows nothing of
transactions: whoever calls answers what the running function asks for.
"""
