// Asks whether the page would say something else by now: after 2 s, then ever more seldom, until it was seen for 3 minutes.
(() => {
  const page = document.querySelector("[data-etag]");
  const { etag, status } = page.dataset;
  const now = () => performance.now() / 1000;
  let delay = 2, left = 180, since = now(), timer = 0, asking = false, over = false;
  const end = late => {
    over = true;
    page.classList.remove("asking");
    document.getElementById("late").hidden = !late;
  };
  const plan = wait => {
    clearTimeout(timer);
    if (over || asking || document.hidden) return;
    const rest = left - (now() - since);
    timer = wait < rest ? setTimeout(ask, wait * 1000) : setTimeout(end, rest * 1000, true);
  };
  const ask = async () => {
    asking = true;
    delay = Math.min(delay * 1.5, 15);
    try {
      // Safari before 16 has no such limit, and waits for as long as it likes.
      const signal = AbortSignal.timeout?.(10000);
      const answer = await fetch(status, { headers: { "If-None-Match": etag }, cache: "no-store", signal });
      const news = (answer.headers.get("ETag") || etag).replace("W/", "");
      if (answer.status === 404) end(true);
      if (answer.ok && news !== etag) {
        end(false);
        location.reload();
      }
    } catch {}
    asking = false;
    plan(delay);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) left -= now() - since;
    since = now();
    plan(0);
  });
  page.classList.add("asking");
  plan(delay);
})();
