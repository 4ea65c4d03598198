// The examples do what they say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MINUTE, timeText } from 'segno';
import { Harness } from 'segno/testing';
import count from '../examples/count.js';
import enrich from '../examples/enrich.js';
import hourly from '../examples/hourly.js';

test('count remembers the order before', () => {
    const plugin = new Harness(count);
    for (const [key, quantity] of [['ann', 2n], ['bob', 5n], ['ann', 3n]]) plugin.push({ quantity }, { key });
    assert.deepEqual(plugin.run().rows().map((row) => [row.orders, row.before]), [[1n, null], [1n, null], [2n, 2n]]);
});

test('hourly gives an hour when it is over', () => {
    const plugin = new Harness(hourly);
    for (const minute of [5n, 50n, 70n, 10n]) plugin.push({ quantity: 1n, at: minute * MINUTE }, { key: 'ann' });
    const given = plugin.runToEnd();
    assert.deepEqual(given.port('hours').map((row) => [timeText(row.start).slice(11, 16), row.orders]), [['00:00', 2n], ['01:00', 1n]]);
    assert.deepEqual(given.rejects, [{ cause: 3, reason: 'the hour is over' }]);
    assert.equal(plugin.state('open', 'ann'), null);
});

test('enrich keeps what it does not know', () => {
    const plugin = new Harness(enrich, { tables: { airports: [{ code: 'DTW', city: 'Detroit' }] } });
    plugin.push({ origin: 'DTW' });
    plugin.push({ origin: 'XYZ' });
    const given = plugin.run();
    assert.deepEqual(given.port('out').map((row) => row.city), ['Detroit']);
    assert.deepEqual(given.port('unknown').map((row) => given.of(row).cause), [1]);
});
