// Reading a plugin's configuration by what its author declares, with errors that say where and what to do.
//
// Owns: types of settings, and the words of errors, which are the same in each of Segno's SDKs. Does not own: the pipeline file:
// the host hands over the step's `config:` as JSON.
//
// Invariant: an unknown field is an error, never ignored. A whole number is read from its digits: none is rounded.

/** What is wrong with a configuration, and where. */
export class ConfigError extends Error {}

const I64 = [-(1n << 63n), (1n << 63n) - 1n];

/** A declared setting. `given` makes its value of what stands there. */
export class Setting {
    constructor(given, fallback) {
        this.given = given;
        /** Makes the value of a setting that is not given; without it, it must be. */
        this.fallback = fallback;
    }

    /** The value of a setting that is not given. */
    or(value) {
        return new Setting(this.given, () => value);
    }
}

/** A number as it is written. */
class Digits {
    constructor(text) {
        this.text = text;
    }
}

/** JSON whose numbers are kept as they are written, and whose names occur once. */
function parse(text) {
    let at = 0;
    const fail = (what) => {
        throw new SyntaxError(`${what} at byte ${at}`);
    };
    const space = () => {
        while (' \t\n\r'.includes(text[at]) && at < text.length) at++;
    };
    const matched = (pattern) => {
        pattern.lastIndex = at;
        const found = pattern.exec(text);
        if (!found) return null;
        at += found[0].length;
        return found[0];
    };
    const string = () => {
        const found = matched(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y) ?? fail('a string is expected');
        return JSON.parse(found);
    };
    const value = () => {
        space();
        const first = text[at];
        if (first === '"') return string();
        if (first === '{') {
            at++;
            const found = new Map();
            space();
            if (text[at] === '}') return at++, found;
            for (;;) {
                space();
                const name = string();
                if (found.has(name)) fail('a name occurs twice');
                space();
                if (text[at++] !== ':') fail('a colon is expected');
                found.set(name, value());
                space();
                const next = text[at++];
                if (next === '}') return found;
                if (next !== ',') fail('a comma is expected');
            }
        }
        if (first === '[') {
            at++;
            const found = [];
            space();
            if (text[at] === ']') return at++, found;
            for (;;) {
                found.push(value());
                space();
                const next = text[at++];
                if (next === ']') return found;
                if (next !== ',') fail('a comma is expected');
            }
        }
        const number = matched(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y);
        if (number !== null) return new Digits(number);
        for (const [word, means] of [['true', true], ['false', false], ['null', null]]) {
            if (text.startsWith(word, at)) return (at += word.length), means;
        }
        return fail('a value is expected');
    };
    const found = value();
    space();
    if (at < text.length) fail('more text');
    return found;
}

const error = (place, what) => new ConfigError(place ? `config.${place}: ${what}` : `config: ${what}`);

function kindOf(found) {
    if (found === null) return 'null';
    if (found instanceof Digits) return found.text;
    if (Array.isArray(found)) return 'a list';
    return { boolean: 'a bool', string: 'a string' }[typeof found] ?? 'an object';
}

const expected = (place, what, found) => error(place, `${what} is expected, not ${kindOf(found)}`);

function whole(found, place, least, most) {
    if (!(found instanceof Digits) || /[.eE]/.test(found.text)) throw expected(place, 'a whole number', found);
    const value = BigInt(found.text);
    if (value < least || value > most) throw error(place, `${found.text} is not between ${least} and ${most}`);
    return value;
}

const text = (found, place) => {
    if (typeof found !== 'string') throw expected(place, 'a string', found);
    return found;
};

/** The types of settings. */
export const setting = Object.freeze({
    bool: new Setting((found, place) => {
        if (typeof found !== 'boolean') throw expected(place, 'true or false', found);
        return found;
    }),
    /** A whole number of 64 bits, as a bigint. */
    i64: new Setting((found, place) => whole(found, place, ...I64)),
    u64: new Setting((found, place) => whole(found, place, 0n, (1n << 64n) - 1n)),
    /** A whole number of 32 bits, as a number. */
    i32: new Setting((found, place) => Number(whole(found, place, -(1n << 31n), (1n << 31n) - 1n))),
    f64: new Setting((found, place) => {
        if (!(found instanceof Digits)) throw expected(place, 'a number', found);
        const value = Number(found.text);
        if (!Number.isFinite(value)) throw error(place, `${found.text} is too large for a number`);
        return value;
    }),
    utf8: new Setting(text),
    /** One of some words. */
    oneOf: (...words) =>
        new Setting((found, place) => {
            const word = text(found, place);
            if (words.includes(word)) return word;
            const near = nearest(word, words);
            throw error(place, `unknown value \`${word}\`; ${near ? `did you mean \`${near}\`?` : `it is one of ${words.join(', ')}`}`);
        }),
    list: (of) =>
        new Setting((found, place) => {
            if (!Array.isArray(found)) throw expected(place, 'a list', found);
            return found.map((item, at) => of.given(item, `${place}[${at}]`));
        }),
    /** Any names, with values of one type, as a `Map`. */
    map: (of) =>
        new Setting((found, place) => {
            if (!(found instanceof Map)) throw expected(place, 'an object', found);
            return new Map([...found].map(([name, item]) => [name, of.given(item, within(place, name))]));
        }),
    object: (fields) => new Setting((found, place) => readObject(fields, found, place)),
    /** `null` where it is null or not given. */
    optional: (of) => new Setting((found, place) => (found === null ? null : of.given(found, place)), () => null),
});

const within = (place, name) => (place ? `${place}.${name}` : name);

function readObject(fields, found, place) {
    if (!(found instanceof Map)) throw expected(place, 'an object', found);
    const known = Object.keys(fields);
    for (const name of found.keys()) {
        if (known.includes(name)) continue;
        const near = nearest(name, known);
        const hint = near ? `did you mean \`${near}\`?` : known.length ? `known are ${known.join(', ')}` : 'this plugin has no configuration';
        throw error(within(place, name), `unknown field; ${hint}`);
    }
    const values = {};
    for (const [name, one] of Object.entries(fields)) {
        const inside = within(place, name);
        if (found.has(name)) values[name] = one.given(found.get(name), inside);
        else if (one.fallback) values[name] = one.fallback();
        else throw error(inside, 'is missing');
    }
    return values;
}

/** The configuration of a plugin. Throws `ConfigError`. */
export function readConfig(fields, bytes) {
    let found;
    try {
        found = parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (problem) {
        throw new ConfigError(`config: not valid JSON: ${problem.message}`);
    }
    return readObject(fields, found, '');
}

/** The known name that a misspelt one most likely means. */
export function nearest(name, known) {
    // Two swapped letters are two edits; a name of three letters is another name by then.
    const limit = name.length <= 3 ? 1 : name.length <= 8 ? 2 : 3;
    let best = null;
    for (const one of [...known].sort()) {
        const edits = distance(name, one);
        if (edits <= limit && (best === null || edits < best.edits)) best = { edits, one };
    }
    return best?.one ?? null;
}

function distance(a, b) {
    const row = Array.from({ length: b.length + 1 }, (_, at) => at);
    for (let i = 0; i < a.length; i++) {
        let diagonal = row[0];
        row[0] = i + 1;
        for (let j = 0; j < b.length; j++) {
            const replaced = diagonal + (a[i] === b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = Math.min(replaced, row[j] + 1, diagonal + 1);
        }
    }
    return row[b.length];
}
