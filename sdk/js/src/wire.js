// Frames and messages: what crosses the boundary, as wit/frame.md of Segno's repository specifies it.
//
// Owns: the layout. Does not own: what a column means to a plugin (`engine`), which columns there are (`columns`), state values
// (`state`).
//
// Invariants: what is written is canonical. What is read comes from the host, which writes well-formed frames and checks every
// answer: readers trust it, and throw some error on anything else. A value of a column is a plain value: boolean, number (i32,
// u32, f64, date), bigint (i64, u64, timestamp, digits of a decimal), string, Uint8Array; `null` is null. Columns that are read are
// arrays or typed arrays.
//
// The engine interprets, and much of its own library with it: what runs for each value uses few calls, and none of `map`, `from`
// and their like, where a constructor or a loop does.

import { Decimal } from './values.js';

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

const I64 = [-(1n << 63n), (1n << 63n) - 1n];
const I32 = [-(2 ** 31), 2 ** 31 - 1];
const isWhole = (value) => value % 1 === 0;

/** What a value of a type is: the word of `typeof`, the least and the most, and what else holds of it. */
const DOMAINS = {
    bool: { type: 'boolean' },
    i32: { type: 'number', range: I32, more: isWhole },
    date: { type: 'number', range: I32, more: isWhole },
    u32: { type: 'number', range: [0, 2 ** 32 - 1], more: isWhole },
    i64: { type: 'bigint', range: I64 },
    timestamp: { type: 'bigint', range: I64 },
    u64: { type: 'bigint', range: [0n, (1n << 64n) - 1n] },
    f64: { type: 'number' },
    // A lone surrogate has no bytes: the encoder would write another character in its place.
    utf8: { type: 'string', more: (value) => value.isWellFormed() },
    binary: { type: 'object', more: (value) => value instanceof Uint8Array },
};

/** The digits of a decimal. */
function digits(precision) {
    const bound = 10n ** BigInt(precision);
    return { type: 'bigint', range: [1n - bound, bound - 1n] };
}

/** A type of a column. Objects are compared by identity, but for decimals. */
export class Kind {
    constructor(name, tag, width = 0, array = null, precision = 0, scale = 0) {
        const { type, range: [least, most] = [null, null], more = null } = DOMAINS[name] ?? digits(precision);
        Object.assign(this, { name, tag, width, array, precision, scale, type, least, most, more });
        Object.freeze(this);
    }

    /** Whether a value is one of the type. */
    fits(value) {
        return typeof value === this.type && (this.least === null || (value >= this.least && value <= this.most)) && (this.more === null || this.more(value));
    }

    toString() {
        return this.precision ? `${this.name}(${this.precision},${this.scale})` : this.name;
    }
}

export const KINDS = Object.freeze(
    Object.fromEntries(Object.entries(TYPES).map(([name, { tag, width, array }]) => [name, new Kind(name, tag, width, array)])),
);
const BY_TAG = new Map(Object.values(KINDS).map((kind) => [kind.tag, kind]));

export const isDecimal = (kind) => kind.tag === DECIMAL_TAG;

/** `precision` digits at most, of which `scale` stand behind the point. */
export function decimalKind(precision, scale) {
    if (!Number.isInteger(precision) || !Number.isInteger(scale) || precision < 1 || precision > 38 || Math.abs(scale) > precision) {
        throw new RangeError(`decimal128(${precision},${scale}): 1 to 38 digits, of which at most all are behind the point`);
    }
    return new Kind('decimal128', DECIMAL_TAG, 16, null, precision, scale);
}

/** A value that its column cannot hold. */
export class Unfit extends Error {}

export const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
export const encoder = new TextEncoder();
/** How a value is shown in an error. */
export function shown(value) {
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'string') return JSON.stringify(value);
    if (value === null || typeof value !== 'object' || value instanceof Decimal) return String(value);
    return value.constructor?.name ?? 'an object';
}

/** The error about a value that does not fit. */
export function unfit(kind, value, where = '') {
    const hint = kind.precision
        ? value instanceof Decimal ? '' : ": decimals are made with Decimal.of('1.50')"
        : kind.type === 'bigint' && typeof value === 'number' ? ': 64-bit values are BigInt, as in 5n' : '';
    return new Unfit(`${where}${shown(value)} is no ${kind}${hint}`);
}

/** The value as it is written. Throws `Unfit` where it is none of the type. */
export function checked(kind, value) {
    if (!kind.fits(value)) throw unfit(kind, value);
    return value;
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
        let values = readValues(view, bytes, kind, rows, offsets, data, size);
        if (view.getUint8(at + 1)) {
            // A typed array holds no nulls.
            if (!Array.isArray(values)) values = [...values];
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
    switch (kind.name) {
        case 'bool': {
            const values = new Array(rows);
            for (let row = 0; row < rows; row++) values[row] = (bytes[data + (row >> 3)] & (1 << (row & 7))) !== 0;
            return values;
        }
        case 'decimal128': {
            const values = new Array(rows);
            for (let row = 0; row < rows; row++) values[row] = readDecimal(view, data + 16 * row);
            return values;
        }
        case 'utf8':
        case 'binary': {
            const values = new Array(rows);
            const ends = new Uint32Array(copied(bytes, offsets, 4 * (rows + 1)));
            const raw = bytes.subarray(data, data + size);
            // ASCII has a byte for each unit of its text: one text is decoded, and each value is a part of it.
            const text = kind === KINDS.utf8 ? utf8.decode(raw) : null;
            const isAscii = text !== null && text.length === size;
            for (let row = 0; row < rows; row++) {
                const start = ends[row];
                const end = ends[row + 1];
                if (isAscii) values[row] = text.substring(start, end);
                else values[row] = text === null ? raw.slice(start, end) : utf8.decode(raw.subarray(start, end));
            }
            return values;
        }
        default:
            return new kind.array(copied(bytes, data, size), 0, rows);
    }
}

/** A buffer of its own for an array of wider values: a message may lie at any address. */
const copied = (bytes, at, size) => bytes.slice(at, at + size).buffer;

export function readDecimal(view, at) {
    return (view.getBigInt64(at + 8, true) << 64n) | view.getBigUint64(at, true);
}

export function writeDecimal(view, at, value) {
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    view.setBigInt64(at + 8, value >> 64n, true);
}

function packBits(flags) {
    const packed = new Uint8Array((flags.length + 7) >> 3);
    for (let row = 0; row < flags.length; row++) if (flags[row]) packed[row >> 3] |= 1 << (row & 7);
    return packed;
}

/** What stands in the place of a null. */
export function zeroOf(kind) {
    if (kind === KINDS.binary) return new Uint8Array(0);
    return { boolean: false, string: '', bigint: 0n, number: 0 }[kind.type];
}

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
            const offsets = new Uint32Array(values.length + 1);
            const written = (data) => [new Uint8Array(offsets.buffer), data];
            const ends = (parts) => {
                let end = 0;
                for (let row = 0; row < parts.length; row++) offsets[row + 1] = end += parts[row].length;
                return end;
            };
            if (kind === KINDS.utf8) {
                // ASCII, as above.
                const whole = encoder.encode(values.join(''));
                if (ends(values) === whole.length) return written(whole);
            }
            const parts = kind === KINDS.utf8 ? values.map((value) => encoder.encode(value)) : values;
            return written(concat(parts, ends(parts)));
        }
        case 'f64': {
            const { buffer } = new Float64Array(values);
            const numbers = new BigUint64Array(buffer);
            for (let row = 0; row < values.length; row++) if (values[row] !== values[row]) numbers[row] = 0x7ff8000000000000n;
            return [null, new Uint8Array(buffer)];
        }
        default:
            return [null, new Uint8Array(new kind.array(values).buffer)];
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

/** A frame of columns: `{ kind, values }`. The values are of their types (`checked`), or null. */
export function writeFrame(rows, columns) {
    let at = FRAME_HEAD + DESCRIPTOR * columns.length;
    const buffers = [];
    const place = (buffer) => {
        const start = at;
        buffers.push([start, buffer]);
        at += aligned(buffer.length);
        return start;
    };
    const descriptors = columns.map(({ kind, values }) => {
        let validity = 0;
        let full = values;
        if (values.includes(null)) {
            const zero = zeroOf(kind);
            const present = new Array(values.length);
            full = new Array(values.length);
            for (let row = 0; row < values.length; row++) {
                present[row] = values[row] !== null;
                full[row] = present[row] ? values[row] : zero;
            }
            validity = place(packBits(present));
        }
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
