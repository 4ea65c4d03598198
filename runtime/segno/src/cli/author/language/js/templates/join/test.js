import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MINUTE } from 'segno';
import { Harness } from 'segno/testing';
import plugin from './{{name}}.js';

test('an order that nobody paid is given alone', () => {
    const join = new Harness(plugin);
    for (const [order, minute, total_cents, paid_cents] of [['a', 0n, 900n, null], ['b', 1n, 500n, null], ['a', 60n, null, 900n]]) {
        join.push({ total_cents, paid_cents, at: minute * MINUTE }, { key: order });
    }
    const given = join.runToEnd().port('out');
    assert.deepEqual(given.map((row) => [row.total_cents, row.paid_cents]), [[900n, 900n], [500n, null]]);
});
