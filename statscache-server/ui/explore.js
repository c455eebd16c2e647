// Asking: which metric, with which parameters. The fragment of the page's URL is the path of the answer, so that what is
// shown can be linked, reloaded and gone back to; parameters that begin with `ui.` are the page's own.

import { ApiError, get, queryString } from "./api.js";
import { answerView, documentation } from "./answer.js";
import { byId, h, replace } from "./dom.js";
import { questionForm } from "./form.js";
import { follow } from "./live.js";
import { onTheme } from "./chart.js";

const OWN = "ui.";
/** Rows of a metric without buckets when nothing is said: a page is no place for thousands. */
const LATEST_LIMIT = "100";
/** Milliseconds until it is asked again, where what was to be followed could not be. */
const AGAIN = 5000;
/** Milliseconds after which it is said that no answer has come yet. */
const SLOW = 500;

/** Parameters of how an answer is written: the page reads one way of them. */
const FORM = new Set(["format", "time", "coverage"]);

/** The part of the page where one asks. `onSelect` is told which metric is shown. */
export function explorer(onSelect) {
  const picker = byId("metric");
  const title = byId("ask-title");
  const live = byId("live");
  const liveState = byId("live-state");
  const form = questionForm(byId("ask"), () => submit());
  const view = answerView(byId("answer"));
  let plugins = [];
  let question;
  let asked;
  let end = () => {};

  const find = (path) => {
    for (const plugin of plugins) for (const metric of plugin.metrics) if (metric.links.values === path) return { plugin, metric };
    return undefined;
  };
  picker.addEventListener("change", () => open(picker.value));
  live.addEventListener("change", () => submit());
  window.addEventListener("hashchange", () => location.hash.startsWith("#/") && read(true));
  onTheme(() => view.draw());
  // A page that nobody looks at holds no connection: a browser has few of them for all of its pages.
  document.addEventListener("visibilitychange", () => live.checked && question && (document.hidden ? end() : ask()));

  /** Shows a metric with nothing but the usual asked for. */
  function open(path) {
    location.hash = linkOf(find(path)?.metric ?? { links: { values: path } });
  }

  /** Asks what the form says. */
  function submit() {
    const own = Object.entries({ live: live.checked ? "1" : "", part: question.part ?? "" }).filter(([, value]) => value);
    const pairs = [...form.pairs(), ...own.map(([name, value]) => [OWN + name, value])];
    const hash = `#${pathOf(question.path, pairs)}`;
    // The same question again is asked again, for newer figures.
    if (location.hash === hash) ask();
    else location.hash = hash;
  }

  /** Takes the question from the URL. */
  function read(isMoved) {
    const [path, parameters] = location.hash.slice(1).split(/\?(.*)/s);
    const pairs = [...new URLSearchParams(parameters ?? "")];
    const found = find(path);
    if (!found) return nothing(path);
    const own = Object.fromEntries(pairs.filter(([name]) => name.startsWith(OWN)));
    const isOther = question?.metric?.links.values !== path;
    question = { ...found, path, pairs: pairs.filter(([name]) => !name.startsWith(OWN) && !FORM.has(name)), part: own[`${OWN}part`] };
    live.checked = own[`${OWN}live`] === "1";
    byId("explorer").classList.remove("without");
    picker.value = path;
    title.textContent = `${found.plugin.id} / ${found.metric.name}`;
    document.title = `${title.textContent} – statscache`;
    replace(byId("documentation"), documentation(found.plugin, found.metric));
    // The form stays as it is, with the focus in it, where it says the same already.
    if (isOther || queryString(form.pairs()) !== queryString(question.pairs)) form.show(found.plugin, found.metric, question.pairs);
    onSelect(path);
    if (isMoved && isOther) byId("explorer").scrollIntoView({ block: "start" });
    ask();
  }

  function nothing(path) {
    end();
    question = undefined;
    byId("explorer").classList.add("without");
    title.textContent = "Ask";
    document.title = "statscache";
    const isNone = !plugins.some((plugin) => plugin.metrics.length);
    if (isNone) view.say("There is nothing to ask for yet: no plugin has a metric.");
    else view.refuse(new ApiError(404, { title: "Not found", detail: `There is no metric at ${path}: choose one.` }), path, false);
    onSelect(undefined);
  }

  /** Asks the daemon, and shows what it answers. */
  async function ask() {
    end();
    asked?.abort();
    const now = (asked = new AbortController());
    const { metric, plugin, path, pairs } = question;
    const full = pathOf(path, pairs);
    const show = (answer, quiet) => view.show(metric, full, answer, { part: question.part, onPart, quiet });
    say("");
    view.wait();
    const slow = setTimeout(() => say("Asking …"), SLOW);
    try {
      const answer = await get(full, now.signal);
      say("");
      form.accept();
      show(answer, false);
      if (live.checked) stream(full, show);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        if (error.name === "AbortError") return;
        throw error;
      }
      say("");
      view.refuse(error, full, form.refuse(error));
      if (plugin.error) say(plugin.error);
      else if (live.checked && (!error.status || error.status >= 500)) later("Live: asked again until it answers.");
    } finally {
      clearTimeout(slow);
    }
  }

  function stream(full, show) {
    const close = follow(full, {
      onAnswer: (answer) => show(answer, true),
      onProblem: (problem) => view.refuse(new ApiError(problem.status, problem), full, false),
      say: (words) => say(`Live: ${words}.`),
      onGone: () => later("Live: it is not streamed now, and asked for every few seconds."),
    });
    end = () => {
      close();
      end = () => {};
    };
  }

  /** Asks again in a while, as if somebody had. */
  function later(words) {
    end();
    say(words);
    const timer = setTimeout(ask, AGAIN);
    end = () => {
      clearTimeout(timer);
      end = () => {};
    };
  }

  const say = (words) => (liveState.textContent = words);

  function onPart(part) {
    question.part = part;
    submit();
  }

  return {
    /** These plugins run now. */
    update(list) {
      const isFirst = !plugins.length;
      const keyOf = (all) => JSON.stringify(all.map((plugin) => [plugin.id, plugin.metrics.map((metric) => metric.name)]));
      const isOther = keyOf(plugins) !== keyOf(list.plugins);
      plugins = list.plugins;
      if (!isOther && !isFirst) return;
      replace(picker, plugins.filter((plugin) => plugin.metrics.length).map((plugin) => h("optgroup", { label: plugin.id }, plugin.metrics.map((metric) => h("option", { value: metric.links.values }, `${plugin.id} / ${metric.name}`)))));
      if (!location.hash.startsWith("#/")) {
        const first = plugins.flatMap((plugin) => plugin.metrics).find((metric) => metric.tiers) ?? plugins.flatMap((plugin) => plugin.metrics)[0];
        if (first) history.replaceState(null, "", linkOf(first));
      }
      read(false);
    },
    /** Shows times in another zone. */
    again: () => view.again(),
  };
}

const pathOf = (path, pairs) => (pairs.length ? `${path}?${queryString(pairs)}` : path);

/** Where on this page a metric is asked for, with what is usual. */
export const linkOf = (metric) => `#${pathOf(metric.links.values, metric.tiers ? [["start", "now-1h"]] : [["limit", LATEST_LIMIT]])}`;
