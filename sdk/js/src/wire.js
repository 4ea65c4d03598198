// Frames, messages and state values: what crosses the boundary, as wit/frame.md of Segno's repository specifies it.
//
// Owns: the layout. Does not own: what a column means to a plugin (`engine`), which columns there are (`columns`).
//
// Invariants: what is written is canonical. What is read comes from the host, which writes well-formed frames and checks every
// answer: readers trust it, and throw some error on anything else. A value of a column is a plain value: boolean, number (i32,
// u32, f64, date), bigint (i64, u64, timestamp, digits of a decimal), string, Uint8Array; `null` is null.

/** Types of wit/frame.md: tag, bytes of a value for types that have a width. */
const TYPES = {
    bool: { tag: 1 },
    i32: { tag: 2, width: 4, array: Int32Array },
    i64: { tag: 3, width: 8, array: BigInt64Array },
    u64: { tag: 4, width: 8, array: BigUint64Array },
    f64: { tag: 5, width: 8, array: Float64Array },
    utf8: { tag: 6 },
    binary: { tag: 7 },
    timestamp: { tag: 8, width: 8, array: BigInt64Array },
    date: { tag: 9, width: 4, array: Int32Array },
    u32: { tag: 11, width: 4, array: Uint32Array },
};
const DECIMAL_TAG = 10;

/** A type of a column. Objects are compared by identity, but for decimals. */
export class Kind {
    constructor(name, tag, width = 0, array = null, precision = 0, scale = 0) {
        Object.assign(this, { name, tag, width, array, precision, scale });
        Object.freeze(this);
    }

    toString() {
        return this.precision ? `${this.name}(${this.precision},${this.scale})` : this.name;
    }
}

export const KINDS = Object.freeze(
    Object.fromEntries(Object.entries(TYPES).map(([name, { tag, width, array }]) => [name, new Kind(name, tag, width, array)])),
);
const BY_TAG = new Map(Object.values(KINDS).map((kind) => [kind.tag, kind]));

/** `precision` digits at most, of which `scale` stand behind the point. */
export function decimalKind(precision, scale) {
    if (!Number.isInteger(precision) || !Number.isInteger(scale) || precision < 1 || precision > 38 || Math.abs(scale) > precision) {
        throw new RangeError(`decimal128(${precision},${scale}): 1 to 38 digits, of which at most all are behind the point`);
    }
    return new Kind('decimal128', DECIMAL_TAG, 16, null, precision, scale);
}

/** A value that its column cannot hold. */
export class Unfit extends Error {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const I64 = [-(1n << 63n), (1n << 63n) - 1n];
const RANGES = { i32: [-(2 ** 31), 2 ** 31 - 1], date: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] };
const BIG_RANGES = { i64: I64, timestamp: I64, u64: [0n, (1n << 64n) - 1n] };

/** How a value is shown in an error. */
export function shown(value) {
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'string') return JSON.stringify(value);
    if (value === null || typeof value !== 'object') return String(value);
    return value.constructor?.name ?? 'an object';
}

/** The value as it is written. Throws `Unfit` where it is none of the type. */
export function checked(kind, value) {
    const unfit = () => new Unfit(`${shown(value)} is no ${kind}`);
    const range = RANGES[kind.name];
    const big = BIG_RANGES[kind.name];
    if (range) {
        if (!Number.isInteger(value) || value < range[0] || value > range[1]) throw unfit();
        return value;
    }
    if (big) {
        if (typeof value !== 'bigint') {
            throw new Unfit(`${shown(value)} is no ${kind}${typeof value === 'number' ? ': 64-bit values are BigInt, as in 5n' : ''}`);
        }
        if (value < big[0] || value > big[1]) throw unfit();
        return value;
    }
    switch (kind.name) {
        case 'f64':
            if (typeof value !== 'number') throw unfit();
            return value;
        case 'bool':
            if (typeof value !== 'boolean') throw unfit();
            return value;
        case 'utf8':
            // A lone surrogate has no bytes: the encoder would write another character in its place.
            if (typeof value !== 'string' || !wellFormed(value)) throw unfit();
            return value;
        case 'binary':
            if (!(value instanceof Uint8Array)) throw unfit();
            return value;
        default: {
            const bound = 10n ** BigInt(kind.precision);
            if (typeof value !== 'bigint' || value <= -bound || value >= bound) throw unfit();
            return value;
        }
    }
}

function wellFormed(text) {
    for (let at = 0; at < text.length; at++) {
        const unit = text.charCodeAt(at);
        if (unit < 0xd800 || unit > 0xdfff) continue;
        const next = text.charCodeAt(at + 1);
        if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return false;
        at++;
    }
    return true;
}

const aligned = (length) => (length + 7) & ~7;
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// Frames ----------------------------------------------------------------------------------------------------------------

const FRAME = 0x314e4753; // SGN1
const FRAME_HEAD = 16;
const DESCRIPTOR = 24;

/** The number of rows, and the types and the values of each column. */
export function readFrame(bytes) {
    const view = viewOf(bytes);
    const width = view.getUint16(6, true);
    const rows = view.getUint32(8, true);
    if (view.getUint32(0, true) !== FRAME || view.getUint16(4, true) !== 1 || view.getUint32(12, true) !== bytes.length) {
        throw new Error('malformed frame');
    }
    const kinds = [];
    const columns = [];
    for (let number = 0; number < width; number++) {
        const at = FRAME_HEAD + DESCRIPTOR * number;
        const tag = view.getUint8(at);
        const kind = tag === DECIMAL_TAG ? decimalKind(view.getUint8(at + 2), view.getInt8(at + 3)) : BY_TAG.get(tag);
        const [validity, offsets, data, size] = [4, 8, 12, 16].map((more) => view.getUint32(at + more, true));
        const values = readValues(view, bytes, kind, rows, offsets, data, size);
        if (view.getUint8(at + 1)) {
            for (let row = 0; row < rows; row++) {
                if (!(bytes[validity + (row >> 3)] & (1 << (row & 7)))) values[row] = null;
            }
        }
        kinds.push(kind);
        columns.push(values);
    }
    return { rows, kinds, columns };
}

function readValues(view, bytes, kind, rows, offsets, data, size) {
    const values = new Array(rows);
    switch (kind.name) {
        case 'bool':
            for (let row = 0; row < rows; row++) values[row] = (bytes[data + (row >> 3)] & (1 << (row & 7))) !== 0;
            return values;
        case 'decimal128':
            for (let row = 0; row < rows; row++) values[row] = readDecimal(view, data + 16 * row);
            return values;
        case 'utf8':
        case 'binary': {
            const isText = kind === KINDS.utf8;
            let start = view.getUint32(offsets, true);
            for (let row = 0; row < rows; row++) {
                const end = view.getUint32(offsets + 4 * (row + 1), true);
                const raw = bytes.subarray(data + start, data + end);
                values[row] = isText ? textOf(raw) : raw.slice();
                start = end;
            }
            return values;
        }
        default: {
            // A copy: the message may lie at any address.
            const raw = bytes.slice(data, data + size);
            return Array.from(new kind.array(raw.buffer, 0, rows));
        }
    }
}

/** Short text in ASCII is made faster by hand than by a decoder. */
function textOf(raw) {
    if (raw.length > 24) return utf8.decode(raw);
    let text = '';
    for (let at = 0; at < raw.length; at++) {
        if (raw[at] > 0x7f) return utf8.decode(raw);
        text += String.fromCharCode(raw[at]);
    }
    return text;
}

function readDecimal(view, at) {
    return (view.getBigInt64(at + 8, true) << 64n) | view.getBigUint64(at, true);
}

function writeDecimal(view, at, value) {
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    view.setBigInt64(at + 8, value >> 64n, true);
}

function packBits(flags) {
    const packed = new Uint8Array((flags.length + 7) >> 3);
    flags.forEach((flag, row) => {
        if (flag) packed[row >> 3] |= 1 << (row & 7);
    });
    return packed;
}

/** What stands in the place of a null. */
const zeroOf = (kind) =>
    kind.name === 'bool' ? false : kind.name === 'utf8' ? '' : kind.name === 'binary' ? new Uint8Array(0)
        : kind.name === 'decimal128' || kind.width === 8 && kind.name !== 'f64' ? 0n : 0;

/** Offsets and data of values without nulls. */
function encode(kind, values) {
    switch (kind.name) {
        case 'bool':
            return [null, packBits(values)];
        case 'decimal128': {
            const data = new Uint8Array(16 * values.length);
            const view = viewOf(data);
            values.forEach((value, row) => writeDecimal(view, 16 * row, value));
            return [null, data];
        }
        case 'utf8':
        case 'binary': {
            const parts = kind === KINDS.utf8 ? values.map((value) => encoder.encode(value)) : values;
            const offsets = new Uint32Array(parts.length + 1);
            let end = 0;
            parts.forEach((part, row) => {
                offsets[row + 1] = end += part.length;
            });
            return [new Uint8Array(offsets.buffer), concat(parts, end)];
        }
        case 'f64': {
            const numbers = new BigUint64Array(values.length);
            const floats = Float64Array.from(values);
            numbers.set(new BigUint64Array(floats.buffer));
            values.forEach((value, row) => {
                if (value !== value) numbers[row] = 0x7ff8000000000000n;
            });
            return [null, new Uint8Array(numbers.buffer)];
        }
        default:
            return [null, new Uint8Array(kind.array.from(values).buffer)];
    }
}

function concat(parts, length) {
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
        whole.set(part, at);
        at += part.length;
    }
    return whole;
}

/**
 * A frame of columns: `{ name, kind, values }`; names are for errors only.
 * Throws `Unfit` when a value is not of its column's type.
 */
export function writeFrame(rows, columns) {
    let at = FRAME_HEAD + DESCRIPTOR * columns.length;
    const buffers = [];
    const place = (buffer) => {
        const start = at;
        buffers.push([start, buffer]);
        at += aligned(buffer.length);
        return start;
    };
    const descriptors = columns.map(({ name, kind, values }) => {
        let validity = 0;
        let nulls = false;
        const full = new Array(values.length);
        for (let row = 0; row < values.length; row++) {
            const value = values[row];
            if (value === null || value === undefined) {
                nulls = true;
                full[row] = zeroOf(kind);
                continue;
            }
            try {
                full[row] = checked(kind, value);
            } catch (error) {
                throw error instanceof Unfit ? new Unfit(`column ${name}: ${error.message}`) : error;
            }
        }
        if (nulls) validity = place(packBits(values.map((value) => value !== null && value !== undefined)));
        const [offsets, data] = encode(kind, full);
        const where = offsets ? place(offsets) : 0;
        return { kind, validity, where, data: place(data), size: data.length };
    });
    const frame = new Uint8Array(at);
    const view = viewOf(frame);
    view.setUint32(0, FRAME, true);
    view.setUint16(4, 1, true);
    view.setUint16(6, columns.length, true);
    view.setUint32(8, rows, true);
    view.setUint32(12, at, true);
    descriptors.forEach(({ kind, validity, where, data, size }, number) => {
        const start = FRAME_HEAD + DESCRIPTOR * number;
        view.setUint8(start, kind.tag);
        view.setUint8(start + 1, validity ? 1 : 0);
        view.setUint8(start + 2, kind.precision);
        view.setInt8(start + 3, kind.scale);
        [validity, where, data, size].forEach((word, index) => view.setUint32(start + 4 + 4 * index, word, true));
    });
    for (const [start, buffer] of buffers) frame.set(buffer, start);
    return frame;
}

// Messages --------------------------------------------------------------------------------------------------------------

export const BATCH = 'SGB1';
export const EFFECTS = 'SGE1';
export const INIT = 'SGI1';
const SECTION = 16;

const magicOf = (text) => new DataView(encoder.encode(text).buffer).getUint32(0, true);

/** Sections by `kind/index`. */
export function readMessage(magic, bytes) {
    const view = viewOf(bytes);
    if (view.getUint32(0, true) !== magicOf(magic) || view.getUint16(4, true) !== 1 || view.getUint32(8, true) !== bytes.length) {
        throw new Error('malformed message');
    }
    const sections = new Map();
    for (let number = 0; number < view.getUint16(6, true); number++) {
        const at = 16 + SECTION * number;
        const start = view.getUint32(at + 4, true);
        const key = `${view.getUint16(at, true)}/${view.getUint16(at + 2, true)}`;
        sections.set(key, bytes.subarray(start, start + view.getUint32(at + 8, true)));
    }
    return sections;
}

/** A message of `[kind, index, bytes]`, in ascending order of kind and index. */
export function writeMessage(magic, sections) {
    let at = 16 + SECTION * sections.length;
    const places = sections.map(([, , body]) => {
        const start = at;
        at += aligned(body.length);
        return start;
    });
    const message = new Uint8Array(at);
    const view = viewOf(message);
    view.setUint32(0, magicOf(magic), true);
    view.setUint16(4, 1, true);
    view.setUint16(6, sections.length, true);
    view.setUint32(8, at, true);
    sections.forEach(([kind, index, body], number) => {
        const start = 16 + SECTION * number;
        view.setUint16(start, kind, true);
        view.setUint16(start + 2, index, true);
        view.setUint32(start + 4, places[number], true);
        view.setUint32(start + 8, body.length, true);
        message.set(body, places[number]);
    });
    return message;
}

// State values ----------------------------------------------------------------------------------------------------------
//
// A column of a state table is `{ name, kind, nullable, since, items }`; a list of items has `items`, and no `kind`.

/** A value of state that is none of its table. */
export class StateError extends Error {}

/** The bytes of one state value; a list's values are a list of lists. Throws `Unfit`. */
export function writeState(version, columns, values) {
    const parts = [Uint8Array.of(version & 0xff, version >> 8)];
    writeRow(parts, columns, values);
    return concat(parts, lengthOf(parts));
}

const lengthOf = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
const word = (number) => new Uint8Array(Uint32Array.of(number).buffer);

function writeRow(parts, columns, values) {
    columns.forEach((column, at) => {
        const value = values[at];
        if (column.items) {
            const items = [];
            for (const item of value) writeRow(items, column.items, item);
            parts.push(word(lengthOf(items)), ...items);
            return;
        }
        const isNull = value === null || value === undefined;
        if (column.nullable) {
            parts.push(Uint8Array.of(isNull ? 0 : 1));
            if (isNull) return;
        }
        try {
            writeValue(parts, column.kind, checked(column.kind, value));
        } catch (error) {
            throw error instanceof Unfit ? new Unfit(`state column ${column.name}: ${error.message}`) : error;
        }
    });
}

function writeValue(parts, kind, value) {
    if (kind.name === 'utf8' || kind.name === 'binary') {
        const raw = kind === KINDS.utf8 ? encoder.encode(value) : value;
        parts.push(word(raw.length), raw);
    } else if (kind.name === 'bool') {
        parts.push(Uint8Array.of(value ? 1 : 0));
    } else {
        parts.push(encode(kind, [value])[1]);
    }
}

/** The values of one state value. What its version did not have is null, zero, false or empty. Throws `StateError`. */
export function readState(version, columns, bytes) {
    if (bytes.length < 2) throw new StateError('state-short');
    const found = bytes[0] | (bytes[1] << 8);
    if (found < 1 || found > version) throw new StateError('state-version');
    const reader = { bytes, view: viewOf(bytes), at: 2, end: bytes.length };
    const values = readRow(found, columns, reader);
    if (reader.at !== bytes.length) throw new StateError('state-trailing');
    return values;
}

function take(reader, size) {
    const at = reader.at;
    if (at + size > reader.end) throw new StateError('state-short');
    reader.at += size;
    return at;
}

function readRow(version, columns, reader) {
    return columns.map((column) => {
        if (column.since > version) return column.items ? [] : column.nullable ? null : zeroOf(column.kind);
        if (column.items) {
            const size = reader.view.getUint32(take(reader, 4), true);
            const start = take(reader, size);
            const inside = { ...reader, at: start, end: start + size };
            const items = [];
            while (inside.at < inside.end) items.push(readRow(version, column.items, inside));
            return items;
        }
        if (column.nullable) {
            const present = reader.bytes[take(reader, 1)];
            if (present > 1) throw new StateError('state-presence');
            if (!present) return null;
        }
        return readValue(column.kind, reader);
    });
}

function readValue(kind, reader) {
    const { view, bytes } = reader;
    switch (kind.name) {
        case 'bool': {
            const flag = bytes[take(reader, 1)];
            if (flag > 1) throw new StateError('state-value');
            return flag === 1;
        }
        case 'utf8':
        case 'binary': {
            const size = view.getUint32(take(reader, 4), true);
            const start = take(reader, size);
            const raw = bytes.subarray(start, start + size);
            if (kind === KINDS.binary) return raw.slice();
            try {
                return utf8.decode(raw);
            } catch {
                throw new StateError('state-value');
            }
        }
        case 'decimal128': {
            const value = readDecimal(view, take(reader, 16));
            const bound = 10n ** BigInt(kind.precision);
            if (value <= -bound || value >= bound) throw new StateError('state-value');
            return value;
        }
        case 'f64': {
            const at = take(reader, 8);
            const value = view.getFloat64(at, true);
            if (value !== value && view.getBigUint64(at, true) !== 0x7ff8000000000000n) throw new StateError('state-value');
            return value;
        }
        case 'i32':
        case 'date':
            return view.getInt32(take(reader, 4), true);
        case 'u32':
            return view.getUint32(take(reader, 4), true);
        case 'u64':
            return view.getBigUint64(take(reader, 8), true);
        default:
            return view.getBigInt64(take(reader, 8), true);
    }
}
