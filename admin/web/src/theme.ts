import { createTheme, defaultVariantColorsResolver, parseThemeColor, type CSSVariablesResolver, type MantineColorsTuple, type VariantColorsResolver } from '@mantine/core';

const relay: MantineColorsTuple = ['#eef0ff', '#dfe3ff', '#bfc6fd', '#9aa5fa', '#7a86f5', '#6470f0', '#4f46e5', '#4338ca', '#3730a3', '#312e81'];
// A cool grey scale for the dark scheme; the component library's own is warm.
const dark: MantineColorsTuple = ['#d5d9e2', '#b3b9c7', '#8f97a8', '#667085', '#3d4454', '#2c3240', '#1f2430', '#171b24', '#11141b', '#0b0d12'];

// Texts on tinted grounds keep a contrast of 4.5 in both schemes; the library's own do not.
const variants: VariantColorsResolver = (input) => {
  const colors = defaultVariantColorsResolver(input);
  const { isThemeColor, color } = parseThemeColor({ color: input.color || input.theme.primaryColor, theme: input.theme });
  if (!isThemeColor || (input.variant !== 'light' && input.variant !== 'subtle')) return colors;
  return { ...colors, color: `light-dark(color-mix(in srgb, var(--mantine-color-${color}-9) 72%, black), var(--mantine-color-${color}-2))` };
};

export const theme = createTheme({
  primaryColor: 'relay',
  primaryShade: 6,
  variantColorResolver: variants,
  colors: { relay, dark },
  fontFamily: '"Inter Variable", -apple-system, "Segoe UI", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "JetBrains Mono", Menlo, Consolas, "Liberation Mono", monospace',
  headings: { fontWeight: '650', sizes: { h1: { fontSize: '1.5rem', lineHeight: '1.3' }, h2: { fontSize: '1.05rem', lineHeight: '1.4' }, h3: { fontSize: '0.95rem', lineHeight: '1.4' } } },
  defaultRadius: 'md',
  cursorType: 'pointer',
  focusRing: 'auto',
  // Who asks the system for less motion gets none: what fades in is read before it is there.
  respectReducedMotion: true,
  components: {
    Button: { defaultProps: { size: 'sm' } },
    Card: { defaultProps: { withBorder: true, radius: 'lg', padding: 'lg' } },
    Modal: { defaultProps: { centered: true, radius: 'lg', overlayProps: { backgroundOpacity: 0.45, blur: 2 } } },
    Table: { defaultProps: { verticalSpacing: 'sm', horizontalSpacing: 'md' } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 250 } },
    Badge: { defaultProps: { variant: 'light', radius: 'sm' } },
  },
});

export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: { '--page': '#f7f8fa', '--panel': '#ffffff', '--line': '#e6e8ee', '--mantine-color-body': '#ffffff', '--mantine-color-dimmed': '#5b6474', '--mantine-color-placeholder': '#666f7f' },
  dark: { '--page': '#0b0d12', '--panel': '#12151d', '--line': '#232937', '--mantine-color-body': '#12151d', '--mantine-color-dimmed': '#98a1b3', '--mantine-color-placeholder': '#98a1b3', '--mantine-color-default-border': '#2c3240' },
});

/** The colors of the parts of a chart, told apart in both schemes. */
export const series = ['relay.5', 'teal.5', 'orange.5', 'grape.5', 'cyan.5', 'gray.5'];
