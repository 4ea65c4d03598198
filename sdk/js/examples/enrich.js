// Adds the city of the airport to a flight, from a side table; flights of airports that are not in it go to a port of their own.

import { count, extend, keep, table, transform, utf8 } from 'segno';

export default transform({
    input: { origin: utf8 },
    ports: { out: extend({ city: utf8 }), unknown: keep() },
    tables: { airports: table({ code: utf8, city: utf8 }, { key: 'code' }) },

    process({ origin }, { airports, out, unknown }) {
        const airport = airports.get(origin);
        if (airport === null) {
            count('unknown_airports');
            unknown.keep();
        } else {
            out.push({ city: airport.city });
        }
    },
});
