-- The database of the tiny plan, before its first migration: orders that carry their delivery address.
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer text NOT NULL,
    address text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- A row in here makes the move of rows fail once that many shipments are there.
CREATE TABLE shop.brake (after_rows integer NOT NULL);
INSERT INTO shop.orders (customer, address)
SELECT 'customer ' || n, CASE WHEN n % 5 <> 0 THEN 'street ' || n END
  FROM pg_catalog.generate_series(1, 250) AS n;
ANALYZE shop.orders;
