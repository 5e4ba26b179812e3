package acs_test

import "encoding/xml"

// atomFeed is a feed as a stranger's reader sees it.
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Count   string      `xml:"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata count"`
	Entries []atomEntry `xml:"entry"`
	Links   []atomLink  `xml:"link"`
}

type atomEntry struct {
	ETag       string     `xml:"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata etag,attr"`
	ID         string     `xml:"id"`
	Links      []atomLink `xml:"link"`
	Properties struct {
		ID    string `xml:"Id"`
		Name  string
		Usage string
		Type  string
		Value string
		Start string `xml:"StartDate"`
		End   string `xml:"EndDate"`
	} `xml:"content>properties"`
}

type atomLink struct {
	Rel    string `xml:"rel,attr"`
	Href   string `xml:"href,attr"`
	Inline *struct {
		Feed *atomFeed `xml:"http://www.w3.org/2005/Atom feed"`
	} `xml:"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata inline"`
}

func (f atomFeed) next() string {
	for _, l := range f.Links {
		if l.Rel == "next" {
			return l.Href
		}
	}
	return ""
}

func (b *bench) feed(path string) (atomFeed, reply) {
	b.t.Helper()
	r := b.call("GET", path, "")
	var f atomFeed
	if err := xml.Unmarshal([]byte(r.body), &f); err != nil || r.status != 200 {
		b.t.Fatalf("GET %s = %d %s (%v)", path, r.status, r.body, err)
	}
	return f, r
}
