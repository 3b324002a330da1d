UPDATE shop.orders SET parcel_code = 'P-000100' WHERE id = 100;
