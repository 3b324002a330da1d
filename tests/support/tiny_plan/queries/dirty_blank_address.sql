SELECT id, customer FROM shop.orders WHERE btrim(address) = ''
