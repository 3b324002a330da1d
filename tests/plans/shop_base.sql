-- A small shop as it is before the plan shop_shipments: what was sent stands in columns of its order.
-- Run as a superuser; the tables belong to the role that the runbook connects as. No migration history exists.

CREATE SCHEMA shop AUTHORIZATION postgres;
SET ROLE postgres;

CREATE TABLE shop.orders (
    id bigint PRIMARY KEY,
    customer text NOT NULL,
    placed_at timestamptz NOT NULL,
    sent_at timestamptz,
    carrier text,
    parcel_code text
);
CREATE INDEX orders_customer ON shop.orders (customer);

CREATE TABLE shop.order_lines (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES shop.orders (id) ON DELETE CASCADE,
    article text NOT NULL,
    amount integer NOT NULL CHECK (amount > 0)
);
CREATE INDEX order_lines_order_id ON shop.order_lines (order_id);

-- Every third order is not sent yet.
INSERT INTO shop.orders (id, customer, placed_at, sent_at, carrier, parcel_code)
SELECT
    n,
    'customer ' || n % 17,
    placed,
    CASE WHEN n % 3 > 0 THEN placed + interval '2 days' END,
    CASE WHEN n % 3 > 0 THEN (ARRAY['by bike', 'by rail'])[1 + n % 2] END,
    CASE WHEN n % 3 > 0 THEN 'P-' || pg_catalog.lpad(n::text, 6, '0') END
FROM pg_catalog.generate_series(1, 250) AS n
CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01 08:00:00+00' + interval '1 hour' * n AS placed) AS moment;

INSERT INTO shop.order_lines (id, order_id, article, amount)
SELECT n, 1 + n % 250, 'article ' || n % 23, 1 + n % 4
FROM pg_catalog.generate_series(1, 600) AS n;

RESET ROLE;
