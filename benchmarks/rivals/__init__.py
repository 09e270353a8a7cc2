"""Other ways to have tasks done once by several processes, measured like ours, in the same run.

`catalog` says what there is, `stage` starts and stops one of them, `measure` takes the figures. Each other module is
one rival: what its workers run, and how its producers submit. `ours` is Actonce, by the same interface.
"""
