// The conformance component in JavaScript. `tests/languages/README.md` says what each behaviour does. Tests only.
//
// Owns: what is described, and which behaviour is chosen. Does not own: what is expected of it.
//
// Invariant: the behaviour is chosen by the configuration and by nothing else.

import {
    ConfigRefused, Decimal, Late, Reject, SECOND, Sliding, Tumbling, after, binary, bool, civil, count, date, dayText, decimal128, emit,
    eventTime, extend, f64, hourOf, i32, i64, keep, keyed, list, log, optional, panes, perKey, setting, since, table, timeText, timestamp,
    transform, u64, utf8,
} from 'segno';

const TIMERS = 100;
const i64Of = (number) => BigInt.asIntN(64, number);
const u32Of = (number) => (number ?? 0) >>> 0;

const KEPT = {
    flag: optional(bool), narrow: optional(i32), wide: optional(i64), count: optional(u64), ratio: optional(f64), text: optional(utf8),
    data: optional(binary), at: optional(timestamp), day: optional(date), amount: optional(decimal128(38, 10)),
};
const ECHO = { id: i64, ...KEPT };
const COMPUTED = {
    id: i64, sum: optional(i64), product: optional(i64), quotient: optional(i64), rest: optional(i64), turned: optional(u64),
    third: optional(f64), total: optional(f64), root: optional(f64), nan: optional(bool), doubled: optional(decimal128(38, 10)),
    cut: optional(decimal128(38, 2)), year: optional(i32), month: optional(i32), dom: optional(i32), hour: optional(i32),
    date_text: optional(utf8), instant_text: optional(utf8),
};
const ROW = {
    what: utf8, id: i64, number: optional(i64), total: optional(u64), sum: optional(f64), start: optional(timestamp), end: optional(timestamp),
};
const MEMORY = {
    records: u64, ...KEPT, recent: list({ id: i64, text: optional(utf8) }), seen: since(2, optional(timestamp)), sure: since(2, bool),
};

const echoOf = (id, given) => ({ id, ...Object.fromEntries(Object.keys(KEPT).map((name) => [name, given[name]])) });

/** One record or timer more; how many there are now. */
function seen({ memory }) {
    const kept = memory.orDefault();
    kept.records += 1n;
    return kept.records;
}

function windowed(record, { windows, noted, config }) {
    let kept;
    try {
        kept = windows.add(record.time);
    } catch (error) {
        if (!(error instanceof Late) || config.strict) throw error;
        noted.push({ note: 'late', number: error.end });
        return;
    }
    merge(kept, { total: 1n, sum: record.wide ?? 0n, ratio: record.ratio ?? 0 });
}

function merge(whole, part) {
    whole.total += part.total;
    whole.sum = i64Of(whole.sum + part.sum);
    whole.ratio += part.ratio;
}

const BEHAVIOURS = {
    echo(record, { echo, kept }) {
        echo.push(echoOf(record.id, record));
        if (record.flag) kept.keep();
    },
    arithmetic(record, { computed }) {
        computed.push(compute(record));
    },
    reject(record, context) {
        seen(context);
        context.echo.push(echoOf(record.id, record));
        if (record.text !== null) throw new Reject(record.text);
        context.kept.keep();
    },
    ports(record, { kept, noted, echo, result }) {
        const times = record.narrow ?? 0;
        if (record.flag === null) return kept.keep();
        if (record.flag) {
            for (let number = 0; number < times; number++) noted.push({ note: record.text ?? '', number: BigInt(number) });
            return undefined;
        }
        echo.push(echoOf(record.id, record));
        for (let number = 0; number < times; number++) {
            result.push({ what: 'port', id: record.id, number: BigInt(number), total: record.count, sum: record.ratio, start: record.at });
        }
        return kept.keep();
    },
    remember(record, { memory, echo, result }) {
        const row = { what: '', id: record.id };
        const found = memory.get();
        if (record.text === 'forget') {
            memory.clear();
            row.what = 'forgotten';
        } else if (record.text === 'recall') {
            row.what = found ? 'recalled' : 'nothing';
            if (found) {
                echo.push(echoOf(record.id, found));
                Object.assign(row, { total: found.records, start: found.seen, number: found.recent.at(-1)?.id ?? null });
            }
        } else {
            const kept = memory.orDefault();
            for (const name of Object.keys(KEPT)) if (record[name] !== null) kept[name] = record[name];
            kept.records += 1n;
            kept.recent = [...kept.recent, { id: record.id, text: record.text }].slice(-3);
            kept.seen = record.time;
            kept.sure = record.flag === true;
            Object.assign(row, { what: 'remembered', number: BigInt(kept.recent.length), total: kept.records });
        }
        result.push(row);
    },
    timers(record, context) {
        const { timers, result } = context;
        const time = record.at ?? record.time;
        const number = u32Of(record.narrow);
        result.push({ what: 'record', id: record.id, number: seen(context), start: record.time, end: timers.watermark });
        switch (record.text) {
            case 'set':
                timers.set(time, number);
                break;
            case 'delete':
                timers.delete(time, number);
                break;
            case 'both':
                timers.set(time, number);
                timers.delete(time, number);
                timers.set(time, u32Of(number + 1));
                break;
            case 'reject':
                timers.set(time, number);
                throw new Reject('set, then rejected');
        }
    },
    tumbling: windowed,
    sliding: windowed,
    side(record, { cities, noted, computed }) {
        if (record.text === null) {
            noted.push({ note: [...cities].map((city) => city.code).join(), number: BigInt(cities.length) });
            return;
        }
        const city = cities.get(record.text);
        if (city === null) {
            noted.push({ note: 'unknown' });
            return;
        }
        noted.push({ note: city.name ?? '?', number: city.people === null ? null : i64Of(city.people) });
        if (city.founded !== null || city.capital) {
            computed.push({ id: record.id, nan: city.capital, date_text: city.founded === null ? null : dayText(city.founded) });
        }
    },
    configuration(record, { config, result }) {
        const { limit, label, strict, codes, window, ratio } = config;
        const parts = window && [window.size, window.slide, window.lateness, window.early].map((one) => one ?? '-').join('/');
        result.push({
            what: `limit=${limit} label=${label} strict=${strict} codes=[${codes.join()}] window=${parts ?? 'none'}`,
            id: record.id, number: limit, total: BigInt(codes.length), sum: ratio,
        });
    },
    observe(record, { kept }) {
        if (record.text !== null) log([0, 1, 3, 4].includes(record.narrow) ? record.narrow : 2, `record ${record.id}: ${record.text}`);
        count('seen');
        count('weight', record.count ?? 0n);
        kept.keep();
    },
    order(record, { noted }) {
        const words = new Map();
        for (const word of (record.text ?? '').split(' ')) words.set(word, (words.get(word) ?? 0) + 1);
        noted.push({ note: [...words].map(([word, times]) => `${word}:${times}`).join(' '), number: BigInt(words.size) });
    },
    failing(record, context) {
        context.result.push({ what: 'record', id: record.id, number: seen(context) });
        if (record.text === 'panic') throw new Error(`told to fail at ${record.id}`);
    },
};

function fire({ time, number }, context) {
    const { timers, memory, result } = context;
    result.push({ what: 'timer', id: BigInt(number), number: seen(context), start: time, end: timers.watermark });
    if (number >= 10 && number <= 12) timers.set(after(time, SECOND), number + 1);
    else if (number === 20) timers.set(time, 21);
    else if (number === 30) timers.delete(after(time, SECOND), 0);
    else if (number === 40) memory.clear();
}

function compute({ id, wide, narrow, ratio, count: turned, amount, day, at }) {
    const row = { id };
    if (wide !== null && narrow !== null) {
        const small = BigInt(narrow);
        row.sum = i64Of(wide + small);
        row.product = i64Of(wide * small);
        if (narrow !== 0) {
            row.quotient = i64Of(wide / small);
            row.rest = wide % small;
        }
    }
    if (turned !== null) row.turned = BigInt.asUintN(64, turned * 3n + 1n);
    if (ratio !== null) {
        row.third = ratio / 3;
        if (wide !== null) row.total = ratio + 0.1 + Number(wide);
        row.root = Math.sqrt(ratio);
        row.nan = Number.isNaN(row.root);
    }
    if (amount !== null) {
        const doubled = amount.times(new Decimal(2n, 0));
        const fits = doubled.digits < 10n ** 38n && doubled.digits > -(10n ** 38n);
        row.doubled = fits ? doubled : null;
        row.cut = amount.truncated(2);
    }
    if (day !== null) {
        const { year, month, day: ofMonth } = civil(day);
        Object.assign(row, { year, month, dom: ofMonth, date_text: dayText(day) });
    }
    if (at !== null) Object.assign(row, { hour: hourOf(at), instant_text: timeText(at) });
    return row;
}

function windowsOf({ behaviour, window }, sums) {
    if (window === null) throw new ConfigRefused(`behaviour \`${behaviour}\` needs config.window`);
    if (window.size <= 0n) throw new ConfigRefused(`config.window.size is not positive: ${window.size}`);
    const more = {
        allowedLateness: window.lateness > 0n ? window.lateness * SECOND : 0n,
        earlyEvery: window.early !== null && window.early > 0n ? window.early * SECOND : null,
        timerNumber: TIMERS,
    };
    if (behaviour === 'tumbling') return new Tumbling(sums, window.size * SECOND, more);
    const slide = window.slide ?? window.size;
    if (slide < 1n || slide > window.size) throw new ConfigRefused(`config.window.slide is not from 1 to the size: ${slide}`);
    return new Sliding(sums, window.size * SECOND, slide * SECOND, { merge, ...more });
}

export default transform({
    input: { id: i64, ...KEPT, time: eventTime },
    ports: {
        kept: keep(), noted: extend({ note: utf8, number: optional(i64) }), echo: emit(ECHO), computed: emit(COMPUTED), result: perKey(ROW),
    },
    state: { memory: keyed(MEMORY, { version: 2 }), panes: panes({ total: u64, sum: i64, ratio: f64 }) },
    tables: {
        cities: table({ code: utf8, name: optional(utf8), people: optional(u64), capital: bool, founded: optional(date) }, { key: 'code' }),
    },
    config: {
        behaviour: setting.oneOf(...Object.keys(BEHAVIOURS)),
        limit: setting.i64.or(100n),
        ratio: setting.f64.or(0.5),
        label: setting.utf8.or('none'),
        strict: setting.bool.or(false),
        codes: setting.list(setting.utf8).or([]),
        // In seconds.
        window: setting.optional(
            setting.object({ size: setting.i64, slide: setting.optional(setting.i64), lateness: setting.i64.or(0n), early: setting.optional(setting.i64) }),
        ),
    },
    setup({ config, panes: sums }) {
        const windows = ['tumbling', 'sliding'].includes(config.behaviour) ? windowsOf(config, sums) : null;
        return { behave: BEHAVIOURS[config.behaviour], windows };
    },
    process(record, context) {
        context.behave(record, context);
    },
    onTimer(timer, context) {
        const { config, windows, result } = context;
        if (config.behaviour === 'timers') fire(timer, context);
        else if (windows) {
            windows.fire(timer).forEach(({ start, end, kind, value }, number) => {
                result.push({ what: kind, id: BigInt(number), number: value.sum, total: value.total, sum: value.ratio, start, end });
            });
        }
    },
});
