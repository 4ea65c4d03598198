import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MINUTE } from 'segno';
import { Harness } from 'segno/testing';
import plugin from './{{name}}.js';

test('an hour has its orders', () => {
    const hourly = new Harness(plugin);
    for (const minute of [5n, 50n, 70n]) {
        hourly.push({ quantity: 1n, price_cents: 100n, at: minute * MINUTE }, { key: 'ann' });
    }
    const windows = hourly.runToEnd().port('windows');
    assert.deepEqual(windows.map((window) => window.orders), [2n, 1n]);
});
