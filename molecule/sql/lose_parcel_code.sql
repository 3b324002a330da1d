UPDATE shop.orders SET parcel_code = NULL WHERE id = 100;
