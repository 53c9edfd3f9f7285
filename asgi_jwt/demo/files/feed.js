/**
 * Reads the events of the demo as they happen. A browser opens six connections to a server for all tabs together. So a
 * hidden tab closes its connection, and reads the missed events when it is shown again.
 */
export function openFeed({ onevent, online }) {
  const waiting = new Set();
  let newest = 0;
  let source;

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(`/demo/events?after=${newest}`);
    source.onopen = () => online(true);
    source.onerror = () => online(false);
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      newest = event.id;
      onevent(event);
      for (const one of waiting) one(event);
    };
  }

  function close() {
    source?.close();
    source = undefined;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();

  return {
    /** The next event that passes `test`. Undefined: no such event came within `timeout` ms. */
    next(test, timeout = 3000) {
      return new Promise((resolve) => {
        const timer = setTimeout(() => settle(), timeout);
        function settle(event) {
          clearTimeout(timer);
          waiting.delete(listen);
          resolve(event);
        }
        function listen(event) {
          if (test(event)) settle(event);
        }
        waiting.add(listen);
      });
    },
  };
}
