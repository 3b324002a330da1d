SELECT
    count(*) AS shipments,
    count(*) FILTER (WHERE shipment.insured) AS insured,
    count(*) FILTER (
        WHERE (o.carrier, o.parcel_code, o.sent_at) = (shipment.carrier, shipment.parcel_code, shipment.sent_at)
    ) AS as_ordered,
    (SELECT count(*) FROM shop.orders WHERE (sent_at IS NULL) <> (shipment_id IS NULL)) AS wrong_orders
FROM shop.shipments AS shipment
LEFT JOIN shop.orders AS o ON o.shipment_id = shipment.id;
