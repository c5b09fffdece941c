"""Functions: calling them, from outside and from one another.

It decides who may call what, gives each call its layer, its turn and its budget, checks what crosses every boundary, and
answers what a running function asks for. It alone knows identities, handles, page cursors and kept answers.

Start at `dispatcher.Dispatcher.call`, then `calling.call_below`, `host.TransactionHost`, `call.Call`. Knows no socket, and
the scheduler only as somebody who takes plans (`scheduling.Scheduling`).
"""
