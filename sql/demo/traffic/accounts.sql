-- What the sign-in service does, in a session of its own and under its own role. See reads.sql for the form of this file.

-- statement: account_make
INSERT INTO auth.users (id, email, raw_user_meta_data)
VALUES (%(user)s, %(user)s || '@example.org', json_build_object('username', %(user)s))
RETURNING id

-- statement: account_delete
DELETE FROM auth.users WHERE id = %(user)s RETURNING id
