"""A language model behind a server as a teacher: its prompt, what its replies say of the labels, its calls.

Everything is written to be asked over a network that fails and costs money: see ``calls`` for what is tried again, ``client`` for what a
reply's status means, ``prompt`` for what a row can and can't do to the prompt that it stands in.
"""
