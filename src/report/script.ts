// The report's only script: values of figures on hover, touch and arrow keys, spoken to screen readers. Without it the tables still show every value.

export function formatScript(): string {
  return `(() => {
const tip = document.getElementById('tip'), voice = document.getElementById('voice');
let current = null;
const clear = () => { if (current) current.classList.remove('at'); current = null; tip.hidden = true; };
const show = (target) => {
  if (target === current) return;
  clear();
  current = target;
  target.classList.add('at');
  tip.textContent = target.getAttribute('aria-label');
  tip.hidden = false;
  const box = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - own.width / 2, document.documentElement.clientWidth - own.width - 8));
  const above = box.top - own.height - 8;
  tip.style.left = left + scrollX + 'px';
  tip.style.top = (above > 4 ? above : box.bottom + 8) + scrollY + 'px';
};
const find = (event) => event.target instanceof Element ? event.target.closest('.tips > [aria-label]') : null;
addEventListener('pointerover', (event) => { const target = find(event); if (target) show(target); else if (!(event.target instanceof Element && event.target.closest('svg:focus'))) clear(); });
addEventListener('pointerdown', (event) => { const target = find(event); if (target) { show(target); voice.textContent = tip.textContent; } else clear(); });
for (const svg of document.querySelectorAll('svg[tabindex]')) {
  const targets = [...svg.querySelectorAll('.tips > [aria-label]')];
  const columns = Number(svg.dataset.columns) || targets.length;
  svg.addEventListener('blur', clear);
  svg.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') return clear();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const step = steps[event.key];
    if (!step || targets.length === 0 || (columns === targets.length && Math.abs(step) > 1)) return;
    event.preventDefault();
    const from = targets.indexOf(current), next = from < 0 ? 0 : from + step;
    if (targets[next]) { show(targets[next]); voice.textContent = tip.textContent; }
  });
}
})();`;
}
