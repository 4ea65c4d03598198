import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Harness } from 'segno/testing';
import plugin from './{{name}}.js';

test('a discount is taken off', () => {
    const price = new Harness(plugin, { config: { discount_percent: 10 } });
    price.push({ quantity: 2n, price_cents: 450n });
    assert.equal(price.run().rows()[0].total_cents, 810n);
});
