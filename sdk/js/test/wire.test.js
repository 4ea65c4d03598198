// The shared vectors of wit/vectors: read, and written again to the same bytes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as state from '../src/state.js';
import * as wire from '../src/wire.js';

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../wit/vectors/${name}.json`, import.meta.url), 'utf8'));
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (raw) => Buffer.from(raw).toString('hex');

function kindOf(text) {
    const decimal = /^decimal128\((\d+),(-?\d+)\)$/.exec(text);
    return decimal ? wire.decimalKind(Number(decimal[1]), Number(decimal[2])) : wire.KINDS[text];
}

function valueOf(kind, text) {
    if (text === null || ['bool', 'utf8'].includes(kind.name)) return text;
    if (kind.name === 'binary') return bytes(text);
    if (kind.name === 'f64') return new Float64Array(BigUint64Array.of(BigInt(text.startsWith('0x') ? text : `0x${text}`)).buffer)[0];
    return ['i32', 'u32', 'date'].includes(kind.name) ? Number(text) : BigInt(text);
}

test('a frame gives its values and is written to the same bytes', () => {
    const cases = vectors('frames').valid;
    assert.ok(cases.length > 5);
    for (const one of cases) {
        const raw = bytes(one.hex);
        const kinds = one.columns.map((column) => kindOf(column.type));
        const wanted = one.columns.map((column, at) => column.values.map((value) => valueOf(kinds[at], value)));
        const { rows, kinds: found, columns } = wire.readFrame(raw);
        assert.equal(rows, one.rows, one.name);
        assert.deepEqual(columns.map((values) => [...values]), wanted, one.name);
        assert.deepEqual(found.map(String), kinds.map(String), one.name);
        const written = wire.writeFrame(rows, kinds.map((kind, at) => ({ kind, values: columns[at] })));
        assert.equal(hex(written), one.hex, one.name);
    }
});

test('a frame is read wherever it lies in memory', () => {
    for (const one of vectors('frames').valid) {
        const raw = bytes(one.hex);
        const moved = new Uint8Array(raw.length + 3);
        moved.set(raw, 3);
        assert.deepEqual(wire.readFrame(moved.subarray(3)).columns, wire.readFrame(raw).columns, one.name);
    }
});

test('text goes through in ASCII, in other characters, and with nulls between', () => {
    for (const values of [['plain', '', 'text'], ['grün', 'ascii', '日本', '🙂'], [null, 'a', null, 'é', '']]) {
        const { columns } = wire.readFrame(wire.writeFrame(values.length, [{ kind: wire.KINDS.utf8, values }]));
        assert.deepEqual(columns, [values]);
    }
});

test('every NaN is the canonical one', () => {
    const other = new Float64Array(BigUint64Array.of(0xfff4000000000001n).buffer)[0];
    const written = wire.writeFrame(1, [{ kind: wire.KINDS.f64, values: [other] }]);
    assert.equal(hex(written.subarray(-8)), '000000000000f87f');
});

test('a value that does not fit is named', () => {
    const { i32, i64, u64, utf8, binary, bool, f64 } = wire.KINDS;
    for (const [kind, value, more] of [
        [i32, 2 ** 31], [i32, 1.5], [i32, 1n], [i64, 1, 'BigInt'], [i64, 1n << 63n], [u64, -1n], [utf8, 5], [utf8, '\ud800'], [utf8, 'a\udc00'],
        [binary, 'x'], [bool, 1], [f64, '1'], [wire.decimalKind(3, 1), 1000n], [wire.decimalKind(3, 1), 1.5],
    ]) {
        const said = (error) => error instanceof wire.Unfit && error.message.includes(`is no ${kind}`) && error.message.includes(more ?? '');
        assert.throws(() => wire.checked(kind, value), said, String(kind));
    }
    assert.throws(() => wire.decimalKind(39, 0), RangeError);
});

test('a message gives its sections and is written to the same bytes', () => {
    const magics = { batch: wire.BATCH, effects: wire.EFFECTS, init: wire.INIT };
    for (const one of vectors('messages').valid) {
        const found = wire.readMessage(magics[one.kind], bytes(one.hex));
        const wanted = one.sections.map((section) => [section.kind, section.index, bytes(section.hex)]);
        assert.deepEqual([...found].map(([place, body]) => [...place.split('/').map(Number), Uint8Array.from(body)]), wanted, one.name);
        assert.equal(hex(wire.writeMessage(magics[one.kind], wanted)), one.hex, one.name);
    }
});

const columnsOf = (columns) =>
    columns.map((one) =>
        one.type === 'list' ? { ...storedOf(one), items: columnsOf(one.columns) } : { ...storedOf(one), kind: kindOf(one.type) });
const storedOf = ({ name, nullable, since }) =>
    ({ name, attribute: name, nullable, since, kind: null, items: null, inside: null, plainOf: null, valueOf: null });
const stateOf = (columns, values) =>
    Object.fromEntries(values.map((value, at) => {
        const { name, items, kind } = columns[at];
        return [name, items ? value.map((item) => stateOf(items, item)) : valueOf(kind, value)];
    }));

test('a state value gives its columns and is written to the same bytes', () => {
    const { table, valid } = vectors('states');
    const columns = columnsOf(table.columns);
    for (const one of valid) {
        const raw = bytes(one.hex);
        const value = state.readState(table.version, columns, raw);
        assert.deepEqual(value, stateOf(columns, one.values), one.name);
        if (raw[0] === table.version) assert.equal(hex(state.writeState(raw[0], columns, value)), one.hex, one.name);
    }
});

test('a state value of any length is read as it was written', () => {
    const item = { ...storedOf({ name: 'n', nullable: false, since: 1 }), kind: wire.KINDS.i64 };
    const columns = [{ ...storedOf({ name: 'all', nullable: false, since: 1 }), items: [item] }, { ...item, name: 'last', attribute: 'last', kind: wire.KINDS.bool }];
    for (let length = 0; length < 300; length++) {
        const value = { all: Array.from({ length }, (_, at) => ({ n: BigInt(at) - 5n })), last: true };
        assert.deepEqual(state.readState(1, columns, state.writeState(1, columns, value)), value);
    }
});

test('a damaged state value is refused for its fault', () => {
    const { table, malformed } = vectors('states');
    assert.ok(malformed.length > 5);
    for (const one of malformed) {
        const read = () => state.readState(table.version, columnsOf(table.columns), bytes(one.hex));
        assert.throws(read, (error) => error instanceof state.StateError && one.fault.includes(error.message) , `${one.name}: ${one.fault}`);
    }
});
