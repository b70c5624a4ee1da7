"""What a mail that came back means: for whom, why, and whether that address can ever be mailed again. Pure; no database.

explain.explain reads one raw message; the modules below it open it (parts), read standard reports (reports) and free words
(prose), tell answering machines and complaints apart (answers), and judge a server's words (reasons).
"""
