import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Harness } from 'segno/testing';
import plugin from './{{name}}.js';

test('a small order is left out', () => {
    const large = new Harness(plugin, { config: { min_cents: 500 } });
    large.push({ quantity: 1n, price_cents: 499n });
    large.push({ quantity: 1n, price_cents: 500n });
    assert.deepEqual(large.run().causes(), [1]);
});
