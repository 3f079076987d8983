"""The garbage collector of a process that lives long."""

import gc


def put_off_collecting() -> None:
    """Collect nothing until `spare_the_collector`: what is imported stays, and looking through it is time lost."""
    gc.disable()


def spare_the_collector() -> None:
    """Keep what is loaded out of every later garbage collection.

    LangChain alone is half a million objects that live as long as the process; walking them again and again was a
    seventh of the CPU of a step and of a request, and all others waited for it for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    # A step or a request makes some 3,000 objects, nearly all gone with it: looking every 700 finds little.
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
