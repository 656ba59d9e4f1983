/** 0.557 as "55.7 %"; errors and other metrics as numbers. */
export function measure(value, metric) {
  if (value === null || value === undefined) return "–";
  if (metric === "accuracy") return `${(100 * value).toFixed(1)} %`;
  return Number(value).toPrecision(4);
}

/** "squared_error" as "squared error". */
export const metricName = (metric) => metric.replaceAll("_", " ");

/** Whether less of it is better, as of errors. */
export const lowerIsBetter = (metric) => /error$/.test(metric);

/** A probability in whole per cent. */
export const percent = (value) => `${Math.round(100 * value)} %`;

/** Seconds as "3 min 20 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Milliseconds as "14 ms". */
export const latency = (ms) => (ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);

/** Whole numbers with thin spaces. */
export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-GB").replaceAll(",", "\u202f"));

/** "5 examples", "1 example". */
export const several = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A moment as "30 Nov, 05:48". */
export function moment(iso) {
  const options = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  return iso ? new Intl.DateTimeFormat("en-GB", options).format(new Date(iso)) : "–";
}

/** The last part of a folder's path. */
export const leaf = (path) => path.split(/[\\/]/).filter(Boolean).pop() ?? path;

/** An option's value in one line. */
export function value(one) {
  if (one === null || one === undefined) return "–";
  if (typeof one === "object") return JSON.stringify(one);
  return String(one);
}
