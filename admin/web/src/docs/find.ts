import type { Section } from 'virtual:docs';

/** find gives the best sections for some words: all must occur, titles count more. */
export function find(sections: Section[], query: string): Section[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  const scored = sections.map((s) => {
    const [page, title, text] = [s.pageTitle.toLowerCase(), s.title.toLowerCase(), s.text.toLowerCase()];
    let score = 0;
    for (const w of words) {
      const one = (title.includes(w) ? 8 : 0) + (page.includes(w) ? 5 : 0) + (text.includes(w) ? 1 + Math.min(2, text.split(w).length - 2) : 0);
      if (one === 0) return { s, score: 0 };
      score += one;
    }
    return { s, score };
  });
  return scored.filter((x) => x.score > 0).sort((a, b) => b.score - a.score).slice(0, 8).map((x) => x.s);
}
