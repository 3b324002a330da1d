-- What the schema public needs, a backup of it does not carry, and the catalog does not tell: functions that are named in the
-- bodies of others. Run in the empty database that a restore drill uses, before extensions and stubs of everything else
-- that the catalog knows are made there. No role is made here: one on the server of the live database would stay.

CREATE SCHEMA auth;

CREATE TABLE auth.users (id uuid PRIMARY KEY);

CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid';
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS 'SELECT NULL::text';
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT NULL::jsonb';
