"""How a graph's state is kept: what is stored once, what refers to it, and how it is found again.

saver     LangGraph's interface: put, put_writes, get, list, and the rules of who may write
nodes     a value as a small tree: inline bytes, references to blobs, lists and dicts of them
lists     a list channel as append-only segments: only what is new is stored
cache     what this process knows of the last checkpoint of each thread, and recently read blobs
reading   rows back into checkpoints
history   the parent chain, for DeltaChannel
erasing   delete, prune, copy: exact, under the heads' lock
bridge    the same saver from another thread, for sync nodes
"""
