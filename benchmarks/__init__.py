"""Benchmarks of micrograd_c and its peers, side by side in one run: ``python -m benchmarks``.

A workload is declared in one of the files in ``workloads/``; an engine takes part in it through one
function::

    chain = workload('chain', 'Scalar chain, forward and backward', size=1000, quick_size=100,
                     unit='second', per='operation', expected=chain_by_hand)

    @chain.on('micrograd')
    def _(size):
        from micrograd.engine import Value
        ...
        return Step(step, result)        # step() is timed, result() is checked after the first one

So a new workload is one such declaration, and a new engine is one line in ``engines.py`` and one
function for every workload it can do. Targets are lines of the table in ``targets.py``.
"""
