// Plugins of every kind, natively.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
    ConfigRefused, DAY, Decimal, Late, MINUTE, Reject, SECOND, Sliding, Tumbling, after, binary, bool, civil, count, date, dayText, decimal128,
    emit, eventTime, extend, f64, floor, i32, i64, info, keep, keyed, list, named, optional, panes, perKey, setting, since, table, timeText,
    timestamp, transform, u64, utf8,
} from '../src/index.js';
import { StateShape } from '../src/columns.js';
import { Harness, Refused } from '../src/testing.js';
import { Unfit } from '../src/wire.js';

const EVERYTHING = {
    flag: optional(bool), small: optional(i32), whole: optional(i64), natural: optional(u64), real: optional(f64), text: optional(utf8),
    raw: optional(binary), at: optional(timestamp), day: optional(date), price: optional(decimal128(38, 4)),
};
const everything = () => ({
    flag: true, small: -(2 ** 31), whole: -(1n << 63n), natural: (1n << 64n) - 1n, real: -0, text: 'é\0', raw: Uint8Array.of(255),
    at: (1n << 63n) - 1n, day: -1, price: Decimal.of('-9999999999999999999999999999999999.9999'),
});
const nothing = () => Object.fromEntries(Object.keys(EVERYTHING).map((name) => [name, null]));

const remember = transform({
    input: EVERYTHING,
    ports: { before: emit(EVERYTHING) },
    state: { last: keyed(EVERYTHING) },
    process(record, { before, last }) {
        const found = last.get();
        if (found) before.push(found);
        if (record.flag === null) last.clear();
        else last.set(record);
    },
});

test('every type goes through state and comes back', () => {
    const plugin = new Harness(remember);
    for (const record of [everything(), nothing(), everything(), everything()]) plugin.push(record, { key: 'a' });
    const given = plugin.run();
    assert.deepEqual(given.rows(), [everything(), everything()]);
    assert.deepEqual(given.causes(), [1, 3]);
    assert.ok(Object.is(given.rows()[0].real, -0));
    assert.deepEqual(plugin.state('last', 'a'), everything());
    plugin.push(nothing(), { key: 'a' });
    plugin.run();
    assert.equal(plugin.state('last', 'a'), null);
});

test('decimals are exact or refused', () => {
    for (const price of [Decimal.of('0.00001'), Decimal.of(`1${'0'.repeat(40)}`), 1, 1n, '1']) {
        const plugin = new Harness(remember);
        assert.throws(() => plugin.push({ ...nothing(), flag: true, price }) ?? plugin.run(), Unfit, String(price));
    }
    assert.equal(String(Decimal.of('1.20').times(Decimal.of('-0.5'))), '-0.600');
    assert.equal(String(Decimal.of('0.1').plus(Decimal.of('0.2'))), '0.3');
    assert.equal(String(Decimal.of('-1.239').truncated(2)), '-1.23');
    assert.equal(Decimal.of('1.50').compare(Decimal.of('1.5')), 0);
    assert.equal(String(new Decimal(5n, -2)), '500');
    assert.throws(() => Decimal.of('1e5'), RangeError);
});

test('instants and days know their calendar', () => {
    assert.equal(timeText(-1n), '1969-12-31T23:59:59.999999Z');
    assert.equal(timeText(1_583_020_799_000_001n), '2020-02-29T23:59:59.000001Z');
    assert.deepEqual(civil(-(2 ** 31)), { year: -5877641, month: 6, day: 23 });
    assert.equal(dayText(-(2 ** 31)), '-5877641-06-23');
    assert.equal(after((1n << 63n) - 1n, DAY), (1n << 63n) - 1n);
    assert.equal(floor(-1n, 10n), -10n);
});

const settings = transform({
    input: {},
    ports: { out: emit({ text: utf8 }) },
    config: {
        limits: setting.list(setting.object({ most: setting.i64, ratios: setting.optional(setting.list(setting.f64)) })),
        names: setting.map(setting.u64),
        mood: setting.oneOf('good', 'bad').or('good'),
        quiet: setting.bool.or(false),
        small: setting.i32.or(1),
    },
    process(_, { config, out }) {
        const { limits, names, mood, quiet } = config;
        out.push({ text: `${limits.map((one) => `${one.most}:${one.ratios}`)} ${[...names].join('=')} ${mood} ${quiet}` });
    },
});

test('a configuration is read exactly', () => {
    const config = { limits: [{ most: 9007199254740993n, ratios: [0.5, 2] }, { most: -1n }], names: { a: (1n << 64n) - 1n }, mood: 'bad', quiet: true };
    const plugin = new Harness(settings, { config });
    plugin.push({});
    assert.equal(plugin.run().rows()[0].text, '9007199254740993:0.5,2,-1:null a,18446744073709551615 bad true');
});

test('a wrong configuration says where and what to do', () => {
    const good = { limits: [], names: {} };
    for (const [change, said] of [
        [{ limts: [] }, 'config.limts: unknown field; did you mean `limits`?'],
        [{ zzz: 1 }, 'config.zzz: unknown field; known are limits, names, mood, quiet, small'],
        [{ limits: undefined }, 'config.limits: is missing'],
        [{ limits: 5 }, 'config.limits: a list is expected, not 5'],
        [{ limits: [{ most: 1.5 }] }, 'config.limits[0].most: a whole number is expected, not 1.5'],
        [{ limits: [{ most: 1n << 63n }] }, 'config.limits[0].most: 9223372036854775808 is not between -9223372036854775808 and 9223372036854775807'],
        [{ names: { a: -1 } }, 'config.names.a: -1 is not between 0 and 18446744073709551615'],
        [{ mood: 'god' }, 'config.mood: unknown value `god`; did you mean `good`?'],
        [{ quiet: 'yes' }, 'config.quiet: true or false is expected, not a string'],
        [{ names: null }, 'config.names: an object is expected, not null'],
        [{ small: 2 ** 31 }, 'config.small: 2147483648 is not between -2147483648 and 2147483647'],
    ]) {
        const config = Object.fromEntries(Object.entries({ ...good, ...change }).filter(([, value]) => value !== undefined));
        assert.throws(() => new Harness(settings, { config }), (error) => error instanceof Refused && error.message === said, said);
    }
    const none = transform({ input: {}, ports: {}, process() {} });
    assert.throws(() => new Harness(none, { config: { a: 1 } }), /config\.a: unknown field; this plugin has no configuration/);
});

const cities = transform({
    input: { code: utf8 },
    ports: { out: extend({ name: optional(utf8) }) },
    tables: { cities: table({ code: utf8, name: utf8 }, { key: 'code' }) },
    process({ code }, { cities: known, out }) {
        out.push({ name: known.get(code)?.name });
    },
});

test('rows of a side table are found by their key, which is unique', () => {
    const plugin = new Harness(cities, { tables: { cities: [{ code: 'A', name: 'Aa' }, { code: 'B', name: 'Bb' }] } });
    for (const code of ['B', 'C', 'A']) plugin.push({ code });
    assert.deepEqual(plugin.run().rows().map((row) => row.name), ['Bb', null, 'Aa']);
    const twice = { tables: { cities: [{ code: 'A', name: 'Aa' }, { code: 'A', name: 'Bb' }] } };
    assert.throws(() => new Harness(cities, twice), /side table `cities`: rows 0 and 1 have the same `code`; a key is unique/);
});

test('a rejected record gives nothing, and state that it changed stays', () => {
    const counts = transform({
        input: { id: i64 },
        ports: { out: keep(), seen: perKey({ count: u64 }) },
        state: { seen_: keyed({ count: u64 }, { table: 'seen' }) },
        process({ id }, { out, seen, seen_: kept }) {
            const value = kept.orDefault();
            value.count += 1n;
            out.keep();
            seen.push({ count: value.count });
            info(`record ${id}`);
            count('records');
            if (id % 2n) throw new Reject(`odd: ${id}`);
        },
    });
    const plugin = new Harness(counts);
    for (let id = 0n; id < 4n; id++) plugin.push({ id }, { key: 'k' });
    const given = plugin.run();
    assert.deepEqual(given.port('seen').map((row) => row.count), [1n, 3n]);
    assert.deepEqual(given.rejects, [{ cause: 1, reason: 'odd: 1' }, { cause: 3, reason: 'odd: 3' }]);
    assert.equal(plugin.state('seen', 'k').count, 4n);
    assert.equal(given.counts.records, 4n);
    assert.equal(given.logs.length, 4);
});

test('a value of state is one of its own for the next record, whatever else holds it', () => {
    const items = list({ n: i32 });
    const shares = transform({
        input: { n: i32 },
        ports: { out: emit({ text: utf8 }) },
        state: { one: keyed({ items, raw: binary }), other: keyed({ items }) },
        process({ n }, { out, one, other }) {
            const kept = one.orDefault();
            const beside = other.orDefault();
            out.push({ text: JSON.stringify([kept.items, [...kept.raw], beside.items]) });
            const item = { n };
            // One item twice, and one list in two values.
            kept.items = [item, item];
            beside.items = kept.items;
            kept.raw = kept.raw.length ? kept.raw : Uint8Array.of(1);
            kept.raw[0]++;
            if (n === 1) beside.items[0].n = 9;
        },
    });
    const plugin = new Harness(shares);
    for (const n of [0, 1, 2]) plugin.push({ n }, { key: 'a' });
    const texts = plugin.run().rows().map(({ text }) => text);
    assert.deepEqual(texts, [
        '[[],[],[]]', '[[{"n":0},{"n":0}],[2],[{"n":0},{"n":0}]]', '[[{"n":9},{"n":9}],[3],[{"n":9},{"n":9}]]',
    ]);
});

test('an object that is held on to is of the record that asked for it, and has columns only', () => {
    const hidden = Symbol('hidden');
    const holds = () => {
        const held = [];
        return transform({
            input: { n: i64, at: eventTime },
            ports: { out: emit({ text: utf8 }) },
            state: { flat: keyed({ n: i64 }), deep: keyed({ items: list({ n: i64 }) }), sums: panes({ n: i64 }) },
            setup: ({ sums }) => ({ windows: new Tumbling(sums, 10n * SECOND) }),
            process({ n, at }, { out, flat, deep, windows }) {
                for (const [flat, deep, pane] of held) {
                    if (!Object.isFrozen(flat)) flat.n = pane.n = 100n;
                    deep.items.push({ n: 100n });
                }
                const one = flat.orDefault();
                const pane = windows.add(at);
                const many = deep.orDefault();
                const said = [one.n, pane.n, many.items.length, Object.isFrozen(one), Object.isFrozen(pane), one[hidden], one.secret, Object.keys(one)];
                out.push({ text: said.map(String).join(' ') });
                one.n += 1n;
                one[hidden] = n;
                Object.defineProperty(one, 'secret', { value: n, enumerable: false });
                many.items.push({ n });
                if (n % 2n) {
                    Object.freeze(one);
                    Object.defineProperty(pane, 'n', { get: () => n, enumerable: true });
                } else pane.n += n;
                held.push([one, many, pane]);
            },
            onTimer: () => {},
        });
    };
    const given = [1, 2, 6].map((cut) => {
        const plugin = new Harness(holds());
        const texts = [];
        for (let n = 0n; n < 6n; n++) {
            plugin.push({ n, at: n }, { key: n % 2n ? 'a' : 'b' });
            if ((Number(n) + 1) % cut === 0) texts.push(...plugin.run().rows().map(({ text }) => text));
        }
        return texts;
    });
    assert.deepEqual(given[0].slice(3), ['1 1 1 false false undefined undefined n', '2 2 2 false false undefined undefined n', '2 3 2 false false undefined undefined n']);
    assert.deepEqual(given, [given[0], given[0], given[0]]);
});

test('a zero that is kept as a whole number has no sign for the next record', () => {
    const negates = transform({
        input: { n: i32 },
        ports: { out: emit({ is: bool, real: bool }) },
        state: { kept: keyed({ n: i32, real: f64 }) },
        process({ n }, { out, kept }) {
            const one = kept.orDefault();
            out.push({ is: Object.is(one.n, -0), real: Object.is(one.real, -0) });
            one.n = one.real = -n % 2;
        },
    });
    const plugin = new Harness(negates);
    for (const n of [0, 2, 4]) plugin.push({ n }, { key: 'a' });
    assert.deepEqual(plugin.run().rows(), [{ is: false, real: false }, { is: false, real: true }, { is: false, real: true }]);
});

test('parts of a window stay what they are, whatever its merge and its results do', () => {
    const merges = transform({
        input: { n: i64, at: eventTime },
        ports: { out: emit({ text: utf8 }) },
        state: { sums: panes({ items: list({ n: i64 }) }) },
        setup: ({ sums }) => ({
            windows: new Sliding(sums, 30n * SECOND, 10n * SECOND, {
                merge(whole, part) {
                    if (whole.items.length) whole.items.push(...part.items);
                    else whole.items = part.items;
                    part.items.push({ n: 1000n });
                },
            }),
        }),
        process({ n, at }, { windows }) {
            windows.add(at).items.push({ n });
        },
        onTimer(timer, { out, windows }) {
            for (const { value } of windows.fire(timer)) {
                out.push({ text: value.items.map(({ n }) => n).join() });
                for (const one of value.items) one.n += 100n;
            }
        },
    });
    const plugin = new Harness(merges);
    for (const n of [0n, 1n, 2n]) plugin.push({ n, at: 10n * SECOND * n }, { key: 'a' });
    assert.deepEqual(plugin.runToEnd().rows().map(({ text }) => text), ['0', '0,1', '0,1,2', '1,2', '2']);
});

test('bytes are those of when they were given', () => {
    const scratch = Uint8Array.of(0);
    const gives = transform({
        input: { n: i32 },
        ports: { out: emit({ raw: binary }) },
        process({ n }, { out }) {
            scratch[0] = n;
            out.push({ raw: scratch });
        },
    });
    const plugin = new Harness(gives);
    for (const n of [1, 2, 3]) plugin.push({ n });
    assert.deepEqual(plugin.run().rows().map(({ raw }) => raw[0]), [1, 2, 3]);
});

test('what no state holds is an error of the record that put it there', () => {
    const keeps = (columns, value) => transform({
        input: { n: i32 },
        ports: { out: keep() },
        state: { kept: keyed(columns) },
        process({ n }, { out, kept }) {
            kept.set({ value: value(n) });
            out.keep();
        },
    });
    const run = (plugin) => {
        const harness = new Harness(plugin);
        for (const n of [1, 0, 2]) harness.push({ n }, { key: 'a' });
        return harness.run();
    };
    assert.throws(() => run(keeps({ value: i32 }, (n) => (n ? n : 2 ** 31))), /state column value: 2147483648 is no i32/);
    assert.throws(() => run(keeps({ value: list({ n: i32 }) }, (n) => (n ? [] : null))), /state column value: a list is an array, not null/);
    assert.throws(() => run(keeps({ value: list({ n: i32 }) }, () => [{ n: 'x' }])), /list value: state column n: "x" is no i32/);
});

test('what is remembered outside of state is found', () => {
    let seen = 0n;
    const leaky = transform({
        input: {},
        ports: { out: emit({ seen: i64 }) },
        process: (_, { out }) => out.push({ seen: (seen += 1n) }),
    });
    const plugin = new Harness(leaky);
    plugin.push({});
    plugin.push({});
    assert.throws(() => plugin.run(), /depends on how batches are cut/);
});

const windowed = (make) =>
    transform({
        input: { id: i64, at: eventTime },
        ports: { out: perKey({ from: timestamp, kind: utf8, count: u64 }), late: keep() },
        state: { sums: panes({ count: u64 }) },
        setup: ({ sums }) => ({ windows: make(sums) }),
        process({ at }, { windows, late }) {
            try {
                windows.add(at).count += 1n;
            } catch (error) {
                if (!(error instanceof Late)) throw error;
                late.keep();
            }
        },
        onTimer(timer, { windows, out }) {
            for (const { start, kind, value } of windows.fire(timer)) out.push({ from: start, kind, count: value.count });
        },
    });

test('tumbling windows fire on time, early, and again for late records', () => {
    const plugin = new Harness(windowed((sums) => new Tumbling(sums, MINUTE, { allowedLateness: MINUTE, earlyEvery: 20n * SECOND })));
    for (const second of [5n, 50n, 70n, 10n, 130n, 20n]) plugin.push({ id: second, at: second * SECOND }, { key: 'k' });
    const given = plugin.runToEnd();
    const shown = given.port('out').map(({ from, kind, count: many }) => `${from / SECOND} ${kind} ${many}`);
    assert.deepEqual(shown, ['0 early 1', '0 on_time 2', '0 update 3', '60 early 1', '60 on_time 1', '120 early 1', '120 on_time 1']);
    assert.equal(given.port('late').length, 1);
    assert.equal(given.counts.late_records, 1n);
    assert.deepEqual(plugin.timers('k'), []);
    assert.equal(plugin.state('windows', 'k'), null);
});

test('timers that set others without end are an error', () => {
    const again = (later) =>
        transform({
            input: { at: eventTime },
            ports: { out: perKey({ n: i64 }) },
            process({ at }, { timers }) {
                timers.set(at);
            },
            onTimer(timer, { timers }) {
                timers.set(timer.time + later);
            },
        });
    for (const [later, said] of [
        [0n, /1000 times at one instant.*P028/],
        [SECOND, /the key "k" go on setting others, 10000 so far.*P028/],
    ]) {
        const plugin = new Harness(again(later));
        plugin.push({ at: SECOND }, { key: 'k' });
        assert.throws(() => plugin.runToEnd(), said);
    }
});

test('sliding windows are put together of slices', () => {
    const merge = (whole, part) => (whole.count += part.count);
    const plugin = new Harness(windowed((sums) => new Sliding(sums, 3n * MINUTE, MINUTE, { merge })));
    for (const second of [5n, 50n, 70n, 130n]) plugin.push({ id: second, at: second * SECOND }, { key: 'k' });
    const shown = plugin.runToEnd().port('out').map(({ from, count: many }) => `${from / SECOND} ${many}`);
    assert.deepEqual(shown, ['-120 2', '-60 3', '0 4', '60 2', '120 1']);
});

test('what is declared wrongly is refused when the module is read', () => {
    const process = () => {};
    for (const [spec, said] of [
        [{ process, inputs: {} }, /no part `inputs`/],
        [{ input: {}, ports: {} }, /a function `process`/],
        [{ process, input: { a: 5 } }, /input\.a: 5 is no column/],
        [{ process, ports: { out: i64 } }, /ports\.out is not declared/],
        [{ process, input: { a: list({}) } }, /lists are for state/],
        [{ process, ports: { config: keep() } }, /two parts of the context are called `config`/],
        [{ process, state: { a: keyed({ x: since(2, i64) }) } }, /columns are appended/],
        [{ process, tables: { t: table({ a: optional(i64) }, { key: 'a' }) } }, /the key is a column that is not nullable/],
        [{ process, config: { a: 5 } }, /config\.a is no setting/],
    ]) {
        assert.throws(() => transform(spec), said);
    }
});

test('what a row lacks, or has too much, is named', () => {
    const give = (row) => {
        const plugin = new Harness(transform({ input: {}, ports: { out: emit({ a: i64, b: optional(i64) }) }, process: (_, { out }) => out.push(row) }));
        plugin.push({});
        return plugin.run().rows();
    };
    assert.deepEqual(give({ a: 1n }), [{ a: 1n, b: null }]);
    assert.throws(() => give({ b: 1n }), /column a: undefined, and the column is not nullable/);
    assert.throws(() => give({ a: 1n, c: 1n }), /out has no column c; it has a, b/);
    assert.throws(() => give({ a: 1 }), /column a: 1 is no i64: 64-bit values are BigInt/);
    assert.throws(() => give(5), /an object is expected, not 5/);
});

test('a value of another type is refused where it is given', () => {
    const plugin = new Harness(transform({
        input: {}, ports: { out: emit({ a: i64 }) },
        process(_, { out }) {
            assert.throws(() => out.push({ a: 5 }), Unfit);
            assert.throws(() => out.push({ a: 1n << 63n }), Unfit);
            out.push({ a: 5n });
        },
    }));
    plugin.push({});
    assert.deepEqual(plugin.run().rows(), [{ a: 5n }]);
});

test('a reason that is cut within a character is text all the same', () => {
    const plugin = new Harness(transform({ input: {}, ports: {}, process() { throw new Reject('x😀'.slice(0, 2)); } }));
    plugin.push({});
    assert.deepEqual(plugin.run().rejects, [{ cause: 0, reason: 'x\ufffd' }]);
});

test('a function that is asynchronous is refused', () => {
    const plugin = new Harness(transform({ input: {}, ports: {}, process: async () => {} }));
    plugin.push({});
    assert.throws(() => plugin.run(), /`process` is asynchronous/);
});

test('rows that are given back, and not pushed, are no silence', () => {
    for (const process of [function* () { yield 1; }, () => [{ a: 1n }]]) {
        const plugin = new Harness(transform({ input: {}, ports: {}, process }));
        plugin.push({});
        assert.throws(() => plugin.run(), /`process` gives something back: rows go through ports/);
    }
});

test('a setup that refuses is shown to the author of the pipeline', () => {
    const refuses = transform({ input: {}, ports: {}, process() {}, setup() { throw new ConfigRefused('not so'); } });
    assert.throws(() => new Harness(refuses), (error) => error instanceof Refused && error.message === 'not so');
});

test('a description has every part', () => {
    const plugin = transform({
        input: { price: named('bid.price', i64), at: eventTime },
        ports: { out: extend({ total: decimal128(10, 2) }) },
        state: { kept: keyed({ a: i64, b: since(2, optional(utf8)), items: since(2, list({ c: bool })) }, { version: 2 }) },
        process() {},
        onTimer() {},
    });
    assert.deepEqual(plugin.description('x', '1.2.3'), {
        abi: 1, name: 'x', version: '1.2.3', event_time: true, timers: true, side_tables: [],
        inputs: [{ name: 'in', columns: [{ name: 'bid.price', type: 'i64', nullable: false }] }],
        outputs: [{ name: 'out', kind: 'extend', columns: [{ name: 'total', type: 'decimal128(10,2)', nullable: false }] }],
        tables: [{
            name: 'kept', version: 2,
            columns: [
                { name: 'a', type: 'i64', nullable: false }, { name: 'b', type: 'utf8', nullable: true, since: 2 },
                { name: 'items', type: 'list', nullable: false, since: 2, columns: [{ name: 'c', type: 'bool', nullable: false }] },
            ],
        }],
    });
});

test('state of an older version is read, with what it did not have', () => {
    const older = new StateShape({ a: i64 }, 't', 1);
    const newer = new StateShape({ a: i64, b: since(2, optional(utf8)), c: since(2, u64), items: since(2, list({ d: i64 })) }, 't', 2);
    assert.deepEqual(newer.read(older.write({ a: 5n })), { a: 5n, b: null, c: 0n, items: [] });
});
