import { Combobox, Text, TextInput, useCombobox } from '@mantine/core';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { search, type Section } from 'virtual:docs';
import { IconSearch } from '../icons';
import { find } from './find';

function excerpt(text: string, query: string): string {
  const at = text.toLowerCase().indexOf(query.toLowerCase().split(/\s+/)[0] ?? '');
  const from = Math.max(0, at - 30);
  return `${from > 0 ? '…' : ''}${text.slice(from, from + 90).trim()}`;
}

/** Search looks through all pages; what it reads is loaded when it is used. */
export function Search({ onGo }: { onGo?: () => void }) {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const [text, setText] = useState('');
  const [all, setAll] = useState<Section[] | null>(null);
  const combobox = useCombobox({ onDropdownClose: () => combobox.resetSelectedOption() });
  const load = () => {
    if (all !== null) return;
    const languages = i18n.resolvedLanguage === 'zh' ? (['zh', 'en'] as const) : (['en'] as const);
    void Promise.all(languages.map((l) => search[l]())).then((lists) => {
      // A page that is there in the reader's language hides the English one.
      const first = new Set(lists[0]?.default.map((s) => s.page));
      setAll(lists.flatMap((l, i) => (i === 0 ? l.default : l.default.filter((s) => !first.has(s.page)))));
    });
  };
  useEffect(() => setAll(null), [i18n.resolvedLanguage]);
  const found = find(all ?? [], text);
  useEffect(() => {
    if (text !== '') combobox.selectFirstOption();
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the store is a new object each time
  }, [text, all]);
  return (
    <Combobox
      store={combobox}
      onOptionSubmit={(to) => {
        setText('');
        combobox.closeDropdown();
        onGo?.();
        void navigate(to);
      }}
    >
      <Combobox.Target>
        <TextInput
          aria-label={t('docs.search')}
          placeholder={t('docs.search')}
          leftSection={<IconSearch size={16} />}
          value={text}
          onFocus={load}
          onChange={(e) => {
            load();
            setText(e.currentTarget.value);
            combobox.openDropdown();
          }}
          onBlur={() => combobox.closeDropdown()}
        />
      </Combobox.Target>
      <Combobox.Dropdown hidden={text.trim() === '' || all === null} miw={300}>
        <Combobox.Options mah={380} style={{ overflowY: 'auto' }} aria-label={t('docs.search')}>
          {found.length === 0 ? <Combobox.Empty>{t('docs.nothing')}</Combobox.Empty> : null}
          {found.map((s) => (
            <Combobox.Option key={`${s.page}#${s.id}`} value={`/docs/${s.page}${s.id ? `#${s.id}` : ''}`}>
              <Text size="sm" fw={550}>
                {s.pageTitle}
                {s.title ? ` › ${s.title}` : ''}
              </Text>
              <Text size="xs" c="dimmed" lineClamp={1}>
                {excerpt(s.text, text)}
              </Text>
            </Combobox.Option>
          ))}
        </Combobox.Options>
      </Combobox.Dropdown>
    </Combobox>
  );
}
