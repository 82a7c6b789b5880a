// Shows the picture and the name of the point on the map that is pointed at, touched, or reached with the arrow keys.
(() => {
  const SIDE = 112, REACH = 14;
  const map = document.querySelector(".map"), svg = map.querySelector("svg"), tip = map.querySelector(".tip");
  const tile = tip.querySelector("div"), words = tip.querySelector("p"), across = Number(map.dataset.across);
  const dots = [...svg.querySelectorAll("[data-i]")];
  const places = dots.map((dot) => dot.getAttribute("d").match(/-?[\d.]+/g).slice(0, 2).map(Number));
  let at = -1;

  function show(i) {
    if (at >= 0) dots[at].classList.remove("at");
    at = i;
    tip.hidden = i < 0;
    if (i < 0) return;
    dots[i].classList.add("at");
    tile.style.backgroundSize = `${SIDE * across}px auto`;
    tile.style.backgroundPosition = `${-SIDE * (i % across)}px ${-SIDE * Math.floor(i / across)}px`;
    words.textContent = dots[i].dataset.n;
    const dot = dots[i].getBoundingClientRect(), frame = map.getBoundingClientRect();
    const left = dot.right - frame.left + 8, top = dot.top - frame.top - 20;
    const fits = left + tip.offsetWidth <= frame.width;
    tip.style.left = `${Math.max(0, fits ? left : dot.left - frame.left - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(0, Math.min(top, frame.height - tip.offsetHeight))}px`;
  }

  function nearest(x, y, allowed) {
    let best = -1, least = Infinity;
    places.forEach(([px, py], i) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least && allowed(px - x, py - y, i)) [best, least] = [i, far];
    });
    return best;
  }

  function point(event) {
    const mouse = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(nearest(mouse.x, mouse.y, (dx, dy) => Math.hypot(dx, dy) < REACH));
  }

  const towards = {
    ArrowRight: (dx, dy) => dx > Math.abs(dy), ArrowLeft: (dx, dy) => -dx > Math.abs(dy),
    ArrowDown: (dx, dy) => dy > Math.abs(dx), ArrowUp: (dx, dy) => -dy > Math.abs(dx),
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => document.activeElement === svg || show(-1));
  svg.addEventListener("focus", () => at < 0 && svg.matches(":focus-visible") && show(0));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(-1);
    const allowed = towards[event.key];
    if (!allowed) return;
    event.preventDefault();
    const next = at < 0 ? 0 : nearest(...places[at], allowed);
    if (next >= 0) show(next);
  });
  svg.setAttribute("tabindex", "0");
})();
