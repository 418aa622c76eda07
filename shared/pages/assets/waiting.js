// Asks whether the page would say something else by now: after 2 s, then ever more seldom, for 3 minutes while the page is seen.
(() => {
  const page = document.querySelector("[data-etag]");
  const { etag, status } = page.dataset;
  let delay = 2, left = 180, timer = 0, asking = false, over = false;
  const end = () => {
    over = true;
    page.classList.remove("asking");
  };
  const plan = (wait = delay) => {
    clearTimeout(timer);
    if (over || asking || document.hidden) return;
    if (left <= 0) {
      document.getElementById("late").hidden = false;
      return end();
    }
    timer = setTimeout(ask, wait * 1000);
  };
  const ask = async () => {
    asking = true;
    left -= delay;
    delay = Math.min(delay * 1.5, 15);
    try {
      const answer = await fetch(status, { headers: { "If-None-Match": etag }, cache: "no-store" });
      const news = (answer.headers.get("ETag") || etag).replace("W/", "");
      if (answer.ok && news !== etag) {
        end();
        location.reload();
      }
      if (answer.status === 404) end();
    } catch {}
    asking = false;
    plan();
  };
  document.addEventListener("visibilitychange", () => plan(0));
  page.classList.add("asking");
  plan();
})();
